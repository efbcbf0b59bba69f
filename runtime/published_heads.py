"""The newest signed head over HTTP, composed."""

import msgspec

from events.head_sources import newest_head
from events.heads import EXAMPLE_HEAD, SignedHead
from runtime.postgres import Pool, ask
from runtime.settings import Settings
from runtime.web.frame import Part
from runtime.web.log_head import ROUTES, PublishedHeads
from runtime.web.openapi.kit import described
from runtime.web.openapi.log_head import describe_log_head


def log_head_part(settings: Settings, pool: Pool | None) -> Part:
    """What answers with the newest signed head, where the settings open it."""

    async def newest() -> bytes | None:
        if pool is None:
            return None
        return await ask(pool, lambda connection: newest_head(connection, settings.log_id))

    published = PublishedHeads(newest=newest if settings.publish_heads else None)
    return Part(
        routes=ROUTES,
        dependencies={"published_heads": published},
        description=describe_log_head(
            described(SignedHead, "The end of the log at some time, signed by Ed25519."),
            msgspec.to_builtins(EXAMPLE_HEAD),
        ),
    )
