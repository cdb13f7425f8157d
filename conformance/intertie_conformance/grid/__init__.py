"""The suite's own small grid: honest peer of a target, and, with one rule overridden, a target itself.

Everything that a requirement constrains is a method of `rules.Rules`; a mutant overrides one of them.
"""
