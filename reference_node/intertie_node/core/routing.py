"""Advertising origins and learning routes, path-vector like (design §8)."""

from fractions import Fraction

import msgspec
from msgspec import Struct

from intertie import envelope
from intertie.amounts import INT64_MAX
from intertie.descriptors import VerifiedDescriptor, check_update, signing_keys_at, verify_chain
from intertie.digests import multihash
from intertie.encoding import parse
from intertie.errors import IntertieError
from intertie.v1 import entry_pb2 as pb
from intertie.v1.catalog_pb2 import Advertisement, CatalogRoot, OriginRoute
from intertie_node.core.catalog import Route, build_root, check_root
from intertie_node.core.effects import Effects
from intertie_node.core.frames import OVERHEAD
from intertie_node.core.ledger import ME, THEM, TariffTerms
from intertie_node.core.link import Link
from intertie_node.core.opening import Phase
from intertie_node.core.pinning import pinned
from intertie_node.core.work import FetchOffers
from intertie_node.core.world import World

ROOT_LIFETIME_MS = 24 * 3_600_000
FIRST_RENEWAL_MS = 5_000
ROOT_VERSION = "root version"
"""Row of `settings`: the highest version of an own root."""
MAX_NAME = 253
"""Characters of a grid name."""
MAX_PATH = 16
MAX_ROUTES = 1_024
"""Origins that one link may advertise."""
MAX_IDLE = 1_024
"""Origins that are remembered of one link beyond those that it advertises (IT-CAT-069)."""


class Advertised(Struct):
    """What this grid tells about itself."""

    root: bytes = b""
    """Serialized Envelope of the own catalog root."""
    version: int = -1
    """Catalog version that the links have been told."""
    at: int = 0
    since: int = 0
    """When this process signed its first root."""
    renew_at: int = 0
    """When the root is to be signed anew: at ever longer intervals after the start, up to half of its life."""

    def renew(self, world: World, fx: Effects) -> None:
        """Sign a root of the own offers as they are.

        Its version is a time, but beyond every version before and no earlier than the logs, also after a restart:
        peers take no lower one after a clock was set back. A restored grid does not know what it told while its clock
        led: what that was by any time is passed after twice as long.
        """
        now, taken = fx.now, world.catalog.root_versions
        version = taken[world.fingerprint] = max(_written(world, now), taken.get(world.fingerprint, 0) + 1)
        fx.changes.put("settings", (ROOT_VERSION,), (ROOT_VERSION, msgspec.msgpack.encode(version)))
        self.since = self.since or now
        lasts = min(max(FIRST_RENEWAL_MS, now - self.since), ROOT_LIFETIME_MS // 2)
        self.root, self.renew_at = own_root(world, version, now), now + lasts

    def is_due(self, world: World, now: int) -> bool:
        """Whether a new root is due: its time has come, or lost entries have come back that are later."""
        known = max(now, world.catalog.root_versions.get(world.fingerprint, 0))
        return now >= self.renew_at or known < _written(world, now)


def _written(world: World, now: int) -> int:
    """The time that the next own entry of any link would bear (ms since the Unix epoch)."""
    return max((link.pair.next_at(now) for link in world.links.values()), default=now)


def own_root(world: World, version: int, now: int) -> bytes:
    """The signed root of this grid's own offers."""
    payload = build_root(world.fingerprint, version, now + ROOT_LIFETIME_MS, world.catalog.own.values())
    return envelope.seal(envelope.CATALOG_ROOT, payload, [world.own.key])


def advertise(world: World, link: Link, told: Advertised, epoch: int, fx: Effects) -> None:
    """Tell a link every origin that it may order from, with tariffs; ends the epoch."""
    if link.phase is not Phase.OPEN:
        return
    own = OriginRoute(
        descriptors=world.own.descriptors,
        root=told.root,
        path=[world.fingerprint],
        path_names=[world.own.grid],
        tariff_seq=_tariff(world, link, world.fingerprint, (1, 1, 0), fx),
    )
    _say(link, Advertisement(epoch=epoch, route=own))
    for route in _relayable(world, link, fx.now) if world.settings.relay else ():
        terms = _relay_terms(world, route)
        if terms is not None:
            passed = OriginRoute(
                descriptors=route.descriptors,
                root=route.root,
                path=[world.fingerprint, *route.path],
                path_names=[world.own.grid, *route.path_names],
                tariff_seq=_tariff(world, link, route.origin, terms, fx),
            )
            _say(link, Advertisement(epoch=epoch, route=passed))
    _say(link, Advertisement(epoch=epoch, end=True))


def _say(link: Link, item: Advertisement) -> None:
    """Gather an advertisement; one that no frame of the peer can hold is left out, whoever made it so large."""
    if item.ByteSize() <= link.their_limits.frame_bytes - 2 * OVERHEAD:
        link.outbox.advertisements.append(item)


def _relayable(world: World, link: Link, now: int) -> list[Route]:
    best: dict[bytes, Route] = {}
    for route in sorted(world.catalog.routes.values(), key=lambda r: (len(r.path), r.link)):
        loops = link.peer.fingerprint in route.path or len(route.path) >= MAX_PATH
        held = any(digest in world.catalog.offers for digest in route.offers)
        if _leads_on(world, route, link, now) and not loops and route.origin not in best and held:
            best[route.origin] = route
    return list(best.values())


def _leads_on(world: World, route: Route, upstream: Link, now: int) -> bool:
    """Whether an order that comes over `upstream` could go by this route now, in the same asset."""
    link = world.links.get(route.link)
    if link is None or link is upstream or link.phase is not Phase.OPEN:
        return False
    if route.epoch <= 0 or route.expires_at <= now:
        return False
    return (link.asset, link.scale) == (upstream.asset, upstream.scale)


def _relay_terms(world: World, route: Route) -> tuple[int, int, int] | None:
    """Markup and fee towards the next grid: the downstream ones times and plus this grid's own."""
    tariff = world.links[route.link].ledger.tariffs[THEM].get(route.tariff_seq)
    if tariff is None:
        return None
    settings = world.settings
    own = Fraction(settings.markup_num, settings.markup_den)
    markup = Fraction(tariff.markup_num, tariff.markup_den) * own
    fee = -int(-(tariff.fee * own) // 1) + settings.fee
    if max(markup.numerator, markup.denominator, fee) > INT64_MAX:
        return None
    return markup.numerator, markup.denominator, fee


def _tariff(world: World, link: Link, origin: bytes, terms: tuple[int, int, int], fx: Effects) -> int:
    """Seq of a tariff with these terms that is good for a while; written now if there is none."""
    tariffs, now = link.ledger.tariffs[ME], link.pair.next_at(fx.now)
    fresh_until = now + world.settings.tariff_lifetime_ms // 2
    for seq, tariff in reversed(tariffs.items()):
        stated = (tariff.markup_num, tariff.markup_den, tariff.fee)
        if tariff.origin == origin and stated == terms and tariff.expires_at >= fresh_until:
            return seq
    num, den, fee = terms
    body = pb.Tariff(
        origin=origin,
        markup_num=num,
        markup_den=den,
        fee=fee,
        expires_at=now + world.settings.tariff_lifetime_ms,
    )
    return link.append(pb.Entry(kind=pb.ENTRY_KIND_TARIFF, tariff=body), fx)


def tariffs_age(world: World, link: Link, now: int) -> bool:
    """Whether a tariff of this link is past the middle of its life."""
    tariffs = link.ledger.tariffs[ME].values()
    newest: dict[bytes, TariffTerms] = {t.origin: t for t in tariffs}
    half = world.settings.tariff_lifetime_ms // 2
    return any(t.expires_at < now + half for t in newest.values())


def learn(world: World, link: Link, item: Advertisement, fx: Effects) -> None:
    """Take one advertisement of a peer. Routes that do not hold are dropped, the rest of the link goes on."""
    if item.end:
        world.catalog.fade_routes(link.name, keep_epoch=item.epoch)
        sweep(world, fx.now)
        return
    _forget_oldest(world, link)
    key = (link.name, item.route.path[-1] if item.route.path else b"")
    if not item.HasField("route") or not _has_room(world, key):
        return
    try:
        route = _checked(world, link, item, fx)
    except IntertieError as error:
        world.catalog.refuse_route(key, str(error))
        return
    missing = world.catalog.put_route(route)
    if missing:
        fx.work.append(FetchOffers(link.name, route.origin, route.root_digest, missing))


def _checked(world: World, link: Link, item: Advertisement, fx: Effects) -> Route:
    body, now = item.route, fx.now
    path = tuple(body.path)
    if not path or len(path) > MAX_PATH or path[0] != link.peer.fingerprint or world.fingerprint in path:
        raise IntertieError("LOOP", "The advertised path does not start at the peer, or passes this grid.")
    origin = verify_chain(list(body.descriptors))
    if origin.fingerprint != path[-1]:
        raise IntertieError("DESCRIPTOR_INVALID", "The descriptor chain is not the advertised origin's.")
    _check_name(world, origin)
    payload = envelope.unseal(body.root, envelope.CATALOG_ROOT, signing_keys_at(_newest(world, origin), now)).payload
    root = parse(CatalogRoot, payload, envelope.MAX_BYTES)
    offers = check_root(root, origin.fingerprint, now)
    if root.version < world.catalog.root_versions.get(origin.fingerprint, 0):
        message = f"The catalog root has version {root.version}; a newer one of {origin.grid} is known."
        raise IntertieError("INVALID_ARGUMENT", message, field="version")
    tariff = link.ledger.tariffs[THEM].get(body.tariff_seq)
    if tariff is None or tariff.origin != origin.fingerprint:
        raise IntertieError("TARIFF_INVALID", "The advertised tariff is unknown or prices another origin.")
    _remember(world, origin, tuple(body.descriptors), fx)
    return Route(
        link=link.name,
        origin=origin.fingerprint,
        grid=origin.grid,
        path=path,
        path_names=tuple(name[:MAX_NAME] for name in body.path_names[: len(path)]),
        tariff_seq=body.tariff_seq,
        root=body.root,
        root_digest=multihash(payload),
        offers=offers,
        expires_at=root.expires_at,
        version=root.version,
        descriptors=tuple(body.descriptors),
        epoch=item.epoch,
    )


def _newest(world: World, origin: VerifiedDescriptor) -> VerifiedDescriptor:
    """The newest known descriptor of an origin: an older chain that is shown again brings no old key back."""
    known = world.executors.get(origin.fingerprint)
    return known if known is not None and known.version > origin.version else origin


def _has_room(world: World, key: tuple[str, bytes]) -> bool:
    """Whether a link may advertise an origin: a known one always, a new one up to a number, whatever others do."""
    routes = world.catalog.routes
    return key in routes or sum(r.link == key[0] and r.epoch > 0 for r in routes.values()) < MAX_ROUTES


def sweep(world: World, now: int) -> None:
    """Forget faded routes whose tariff or root has expired: from then on their offers are unknown."""
    world.catalog.expire([route for route in world.catalog.routes.values() if _lasts_until(world, route) <= now])


def _lasts_until(world: World, route: Route) -> int:
    """When the route's root or tariff will have expired (ms since the Unix epoch), 0 if that is not known any more."""
    link = world.links.get(route.link)
    tariff = link.ledger.tariffs[THEM].get(route.tariff_seq) if link is not None else None
    return min(route.expires_at, tariff.expires_at) if tariff is not None and tariff.origin == route.origin else 0


def _forget_oldest(world: World, link: Link) -> None:
    """Forget the first of too many origins to which a link leads no more, some at a time (IT-CAT-069)."""
    idle = world.catalog.idle(link.name)
    if len(idle) <= MAX_IDLE:
        return
    needed = _needed(world)
    keys = [key for key in idle if key[1] not in needed]
    for origin in world.catalog.forget(keys[: len(idle) - MAX_IDLE * 7 // 8]):
        world.executors.pop(origin, None)


def _needed(world: World) -> set[bytes]:
    """Grids that are never forgotten: this one, its peers, and those whose records own orders may still bring."""
    needed = {world.fingerprint, *(link.peer.fingerprint for link in world.links.values())}
    for link in world.links.values():
        tariffs = link.ledger.tariffs[THEM]
        ordered = {hold.terms.tariff_seq for (payer, _), hold in link.ledger.holds.items() if payer == ME}
        needed |= {tariffs[seq].origin for seq in ordered & tariffs.keys()}
    return needed


def _remember(world: World, origin: VerifiedDescriptor, chain: tuple[bytes, ...], fx: Effects) -> None:
    """Keep an origin's newest descriptor, also a peer's; its route's row keeps the chain for the next start."""
    known = world.executors.get(origin.fingerprint)
    if known is not None and known.version <= origin.version:
        check_update(known, origin)
    if known is None or known.version < origin.version:
        world.executors[origin.fingerprint] = origin
        world.take_descriptor(pinned(chain), fx)


def _check_name(world: World, origin: VerifiedDescriptor) -> None:
    """A name belongs to the fingerprint that was first pinned to it (design §6)."""
    for known in world.executors.values():
        if known.grid == origin.grid and known.fingerprint != origin.fingerprint:
            raise IntertieError("DESCRIPTOR_INVALID", f"The name {origin.grid} is pinned to another grid.")
