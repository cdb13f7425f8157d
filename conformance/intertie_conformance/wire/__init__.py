"""The wire as this suite reads it: digests, keys, envelopes, documents, heads, amounts, records. Pure."""
