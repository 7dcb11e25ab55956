"""Upkeep of what devices see. Each step looks at what is there: running it again, or twice at once, does no harm."""

from __future__ import annotations

from prefect import flow

from tasks.maintenance import (
    Upkeep,
    delete_garbage,
    forget_webhooks,
    has_repository,
    renew_signatures,
    settle_newcomers,
    show_upkeep,
)


@flow(name="maintain")
def maintain(garbage: bool = True) -> Upkeep:
    """Offer newcomers their release and renew signatures; with ``garbage``, delete what nothing names any more."""
    done = Upkeep(has_repository=has_repository(), forgotten=forget_webhooks())
    if done.has_repository:
        assigned = settle_newcomers()
        renewed, due = renew_signatures()
        deleted = delete_garbage() if garbage else 0
        done = Upkeep(
            has_repository=True,
            assigned=assigned,
            renewed=renewed,
            due=due,
            deleted=deleted,
            forgotten=done.forgotten,
        )
    show_upkeep(done)
    return done
