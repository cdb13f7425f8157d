"""Double-entry books and consumers' budgets (design §9: books).

A transfer debits one account and credits another by the same amount, so every transaction sums to zero by
construction; balances are kept, not summed. Names: `payable/<link>`, `receivable/<link>`, `cost/<link>`,
`cost/<link>/<upstream link>` of what was passed on, `revenue/<link>`, `consumer/<account>`, `sales`. All amounts
are minor units of one asset.
"""

from msgspec import Struct

from intertie.errors import IntertieError
from intertie_node.core.effects import Effects


class Account(Struct):
    """A consumer with a budget. reserved + spent ≤ budget at every moment."""

    name: str
    token_hash: bytes
    budget: int
    reserved: int = 0
    spent: int = 0
    created_at: int = 0
    revoked: int = 0
    """When the token was revoked, milliseconds since the Unix epoch; 0 if it is valid."""

    @property
    def left(self) -> int:
        """What may still be reserved, minor units."""
        return self.budget - self.reserved - self.spent


class LinkAccounts(Struct, frozen=True):
    """Names of the accounts that hold what a link moves."""

    payable: str
    cost: str
    receivable: str
    revenue: str

    @classmethod
    def of(cls, link: str) -> "LinkAccounts":
        """Those of the link with that name."""
        return cls(f"payable/{link}", f"cost/{link}", f"receivable/{link}", f"revenue/{link}")


class Books:
    """Balances and consumer accounts of one grid, in memory; rows are written once a batch."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.by_token: dict[bytes, str] = {}
        self.balances: dict[tuple[str, str], list[int]] = {}
        """(account, asset) → [debits, credits]."""
        self._changed_accounts: set[str] = set()
        self._changed_balances: set[tuple[str, str]] = set()

    def put_account(self, account: Account) -> None:
        """Add or replace a consumer account; the token that it had before is no longer one."""
        before = self.accounts.get(account.name)
        if before is not None:
            self.by_token.pop(before.token_hash, None)
        self.accounts[account.name] = account
        self.by_token[account.token_hash] = account.name
        self._changed_accounts.add(account.name)

    def reserve(self, name: str, amount: int) -> None:
        """Reserve part of a budget. Raises: IntertieError BUDGET_EXCEEDED, and then nothing is reserved."""
        account = self.accounts[name]
        if amount > account.left:
            raise IntertieError(
                "BUDGET_EXCEEDED",
                f"The maximum charge {amount} is above the {account.left} left of account {name}'s budget.",
                budget=str(account.budget),
                available=str(account.left),
                max_charge=str(amount),
            )
        account.reserved += amount
        self._changed_accounts.add(name)

    def release(self, name: str, reserved: int, spent: int) -> None:
        """End a reservation of `reserved` by spending `spent` of it."""
        account = self.accounts.get(name)
        if account is None:
            return
        account.reserved -= reserved
        account.spent += spent
        self._changed_accounts.add(name)

    def transfer(
        self, fx: Effects, debit: str, credit: str, amount: int, asset: str, origin: tuple[str, int, int, str]
    ) -> None:
        """Move `amount` (may be negative: a correction); `origin` is (link, side, seq, invocation)."""
        if amount < 0:
            debit, credit, amount = credit, debit, -amount
        if amount == 0:
            return
        fx.changes.append("transfers", (debit, credit, amount, asset, fx.now, *origin))
        self._balance(debit, asset)[0] += amount
        self._balance(credit, asset)[1] += amount

    def _balance(self, name: str, asset: str) -> list[int]:
        """The balance of an account, to be changed."""
        key = (name, asset)
        self._changed_balances.add(key)
        return self.balances.setdefault(key, [0, 0])

    def align(
        self, fx: Effects, name: str, other: str, wanted: int, asset: str, origin: tuple[str, int, int, str]
    ) -> None:
        """Transfer what makes the balance of `name`, debits less credits, the wanted one."""
        debits, credits_ = self.balances.get((name, asset), (0, 0))
        self.transfer(fx, name, other, wanted - debits + credits_, asset, origin)

    def flush(self, fx: Effects) -> None:
        """Write the rows that changed in this batch."""
        for name in self._changed_accounts:
            a = self.accounts[name]
            row = (a.name, a.token_hash, a.budget, a.reserved, a.spent, a.created_at, a.revoked)
            fx.changes.put("accounts", (name,), row)
        for key in self._changed_balances:
            fx.changes.put("balances", key, (*key, *self.balances[key]))
        self._changed_accounts.clear()
        self._changed_balances.clear()
