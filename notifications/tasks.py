from __future__ import annotations

from celery import shared_task

from notifications import outbox, services

BATCH = 500


@shared_task
def deliver_due() -> int:
    """Deliver until nothing waits, but for a bounded number of rounds: beat calls again."""
    total = 0
    for _ in range(20):
        done = services.deliver_pending(BATCH)
        total += done
        if done < BATCH:
            break
    return total


@shared_task
def send_due() -> int:
    """Take to their destinations what is due, for a bounded time: beat and the next failure call again."""
    return outbox.send_due()
