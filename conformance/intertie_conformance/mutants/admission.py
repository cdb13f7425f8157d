"""Grids that break RFC 0009, sections 3.3 and 3.4: what is checked before an invocation is taken."""

from __future__ import annotations

from collections.abc import Sequence

from intertie_conformance.grid.invocations import Account, Asked
from intertie_conformance.grid.rules import Rules
from intertie_conformance.mutants import mutant
from intertie_conformance.wire.refusal import Refusal


@mutant("IT-INV-020")
class AmountsFirst(Rules):
    """Looks at the amounts before it looks for the offer."""

    def new_checks(self) -> tuple[str, ...]:
        return ("id_form", "amounts", *(name for name in self.NEW_CHECKS[1:] if name != "amounts"))


@mutant("IT-INV-020", also=("IT-INV-018", "IT-INV-137"))
class NegativeCharge(Rules):
    """Takes any max_charge."""

    def amounts(self, asked: Asked) -> None:
        return


@mutant("IT-INV-020")
class AnyTimeout(Rules):
    """Takes any timeout."""

    def timeout(self, asked: Asked) -> None:
        return


@mutant("IT-INV-020")
class AnySize(Rules):
    """Takes inputs of any size."""

    def input_size(self, asked: Asked) -> None:
        return


@mutant("IT-INV-022")
class ForgetsReserved(Rules):
    """Compares the maximum charge with what is not spent, whatever is reserved."""

    def budget(self, asked: Asked) -> None:
        if asked.wanted.max_charge > asked.account.budget - asked.account.spent:
            raise Refusal("BUDGET_EXCEEDED", "The account's budget is lower than the maximum charge.")


@mutant("IT-INV-022", also=("IT-INV-016", "IT-INV-141", "IT-INV-146"))
class ReservesLittle(Rules):
    """Reserves half of what may be charged."""

    def reserves(self, account: Account, amount: int) -> int:
        return amount // 2


@mutant("IT-INV-025", also=("IT-INV-020",))
class AnyPlace(Rules):
    """Works wherever it is, whatever the policy says."""

    def place_allowed(self, asked: Asked) -> None:
        return


@mutant("IT-INV-025")
class PlaceByPrefix(Rules):
    """Takes any beginning of a place for its country."""

    def place_fits(self, place: str, allowed: Sequence[str]) -> bool:
        return not allowed or any(place.startswith(code) for code in allowed)


@mutant("IT-INV-146", also=("IT-INV-016", "IT-INV-022"))
class StaleAccount(Rules):
    """States what was reserved when it was last asked beside what is spent now."""

    def account_now(self, account: Account) -> tuple[int, int, int]:
        before = self.__dict__.setdefault(account.name, account.reserved)
        self.__dict__[account.name] = account.reserved
        return account.budget, before, account.spent
