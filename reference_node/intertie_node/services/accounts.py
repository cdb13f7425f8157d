"""Consumer accounts: what may become one, and how a new token follows a revoked one."""

import re
from typing import Final

from intertie.amounts import check_amount
from intertie.errors import IntertieError
from intertie_node.core.books import Account, Books
from intertie_node.operator_api import TokenRequest

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


def check(request: TokenRequest) -> None:
    """Raises: IntertieError INVALID_ARGUMENT for a name, AMOUNT_INVALID for a budget that cannot be."""
    name = request.account
    if not _NAME.fullmatch(name):
        message = f"An account is named by 1 to 64 letters, digits, points, hyphens and underscores, not {name[:80]!r}."
        raise IntertieError("INVALID_ARGUMENT", message, field="account")
    check_amount(request.budget)


def renewed(books: Books, request: TokenRequest, token_hash: bytes, now: int) -> Account:
    """The account with a new token, new or after its old one was revoked. Raises: IntertieError INVALID_ARGUMENT."""
    old = books.accounts.get(request.account)
    budget = int(request.budget)
    if old is None:
        return Account(request.account, token_hash, budget, created_at=now)
    if not old.revoked:
        message = f"The account {old.name} has a token: intertie token revoke {old.name} ends it."
        raise IntertieError("INVALID_ARGUMENT", message, field="account")
    used = old.reserved + old.spent
    if budget < used:
        message = f"The account {old.name} has reserved or spent {used}: its budget is at least that."
        raise IntertieError("INVALID_ARGUMENT", message, field="budget")
    return Account(old.name, token_hash, budget, old.reserved, old.spent, old.created_at)
