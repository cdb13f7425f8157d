"""The typed async client of the consumer face, for application developers.

    async with Client("127.0.0.1:7400", token, insecure=True) as client:
        result = await client.call("north.example/rag", {"query": "tides"}, max_charge=5_000)
        print(result.json(), result.price, result.executed_by)

Importing it needs grpcio; the rest of `intertie` does not.
"""

from intertie.client.catalog import CatalogChange, OfferListed, OfferRemoved, Synced
from intertie.client.client import Client
from intertie.client.events import Chunk, Ended, Gap, InputRequested, InvocationItem, Progress, StateChanged
from intertie.client.requests import InvocationOptions, new_id
from intertie.client.results import CallResult, EnergyReading, InvocationError
from intertie.client.searching import SearchOptions
from intertie.client.stream import CallStream
from intertie.paging import Page

__all__ = [
    "CallResult",
    "CallStream",
    "CatalogChange",
    "Chunk",
    "Client",
    "Ended",
    "EnergyReading",
    "Gap",
    "InputRequested",
    "InvocationError",
    "InvocationItem",
    "InvocationOptions",
    "OfferListed",
    "OfferRemoved",
    "Page",
    "Progress",
    "SearchOptions",
    "StateChanged",
    "Synced",
    "new_id",
]
