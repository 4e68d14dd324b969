"""How the deliveries to destinations do, counted for operators."""

from __future__ import annotations

from django.db.models import Count

from notifications.models import Delivery


def counts() -> dict[Delivery.State, int]:
    """The deliveries that are not done, by state, and those that were given up and can be sent again."""
    undone = [*Delivery.WAITING, Delivery.State.DEAD]
    rows = Delivery.objects.filter(state__in=undone).order_by().values_list("state").annotate(number=Count("pk"))
    found = dict(rows)
    return {state: found.get(state.value, 0) for state in undone}
