from __future__ import annotations

from rest_framework import serializers

from notifications.models import Delivery, Destination, Kind
from pipeline.api.serializers.strict import StrictSerializer, one_line

NAME_HELP = "What you call it; each name once."
ADDRESS_HELP = (
    "An e-mail address; the address of an incoming webhook of Slack or Discord; the address that takes your webhooks; "
    "or an address in Apprise's form. It is stored encrypted and never shown again."
)
SET_BY_SERVER = frozenset({"id", "hint", "problem", "worked_at", "created_at", "secret"})


class DestinationAddSerializer(StrictSerializer):
    set_by_server = SET_BY_SERVER | {"enabled"}

    kind = serializers.ChoiceField(Destination.Type.choices)
    name = serializers.CharField(max_length=80, validators=[one_line], help_text=NAME_HELP)
    address = serializers.CharField(max_length=4000, help_text=ADDRESS_HELP)


class DestinationChangeSerializer(StrictSerializer):
    set_by_server = SET_BY_SERVER | {"kind"}

    name = serializers.CharField(required=False, max_length=80, validators=[one_line], help_text=NAME_HELP)
    address = serializers.CharField(required=False, max_length=4000, help_text=ADDRESS_HELP)
    enabled = serializers.BooleanField(required=False, help_text="Whether anything is sent there.")


class DestinationSerializer(serializers.ModelSerializer):
    class Meta:
        model = Destination
        fields = ("id", "kind", "name", "hint", "enabled", "problem", "worked_at", "old_secret_until", "created_at")
        read_only_fields = fields


class SecretSerializer(serializers.Serializer):
    secret = serializers.CharField(
        allow_blank=True, help_text="What signs messages to a webhook, shown this once; blank for other kinds."
    )


class DestinationMadeSerializer(SecretSerializer, DestinationSerializer):
    class Meta(DestinationSerializer.Meta):
        fields = (*DestinationSerializer.Meta.fields, "secret")  # type: ignore[assignment]


class TestedSerializer(serializers.Serializer):
    delivered = serializers.BooleanField()
    status = serializers.IntegerField(allow_null=True, help_text="The HTTP status of the answer, where there was one.")
    message = serializers.CharField(help_text="What came of it, as a sentence.")


class DeliverySerializer(serializers.ModelSerializer):
    notification_title = serializers.CharField(source="notification.title")
    notification_type = serializers.ChoiceField(Kind.choices, source="notification.type")
    destination_name = serializers.CharField(source="destination.name")

    class Meta:
        model = Delivery
        fields = (
            "id", "notification", "notification_title", "notification_type", "destination", "destination_name", "state",
            "tries", "next_try_at", "last_try_at", "last_error", "response_status", "delivered_at", "created_at",
        )  # fmt: skip
        read_only_fields = fields


class EventTypeSerializer(serializers.Serializer):
    type = serializers.ChoiceField(Kind.choices)
    label = serializers.CharField()  # type: ignore[assignment]


class WantedSerializer(serializers.Serializer):
    destination = serializers.UUIDField()
    name = serializers.CharField()
    wanted = serializers.DictField(child=serializers.BooleanField(), help_text="Type of event: whether it is sent.")


class SettingsSerializer(serializers.Serializer):
    types = EventTypeSerializer(many=True)
    destinations = WantedSerializer(many=True)


class ChoiceSerializer(StrictSerializer):
    destination = serializers.UUIDField()
    type = serializers.ChoiceField(Kind.choices)
    wanted = serializers.BooleanField()


class ChoicesSerializer(StrictSerializer):
    choices = ChoiceSerializer(many=True, max_length=500)  # type: ignore[call-arg]
