from __future__ import annotations

from rest_framework import serializers

from pipeline.api.serializers.strict import StrictSerializer
from pipeline.services.credentials import LONGEST, MAX_ADDRESS


class OptionsField(serializers.DictField):
    child = serializers.JSONField()


class CredentialSaveSerializer(StrictSerializer):
    set_by_server = frozenset({"provider", "hint", "account_name", "checked_at", "problem", "balance"})

    secret = serializers.CharField(
        max_length=4 * LONGEST, help_text="The key. It is stored encrypted and never shown again."
    )
    base_url = serializers.CharField(
        max_length=2 * MAX_ADDRESS,
        required=False,
        default="",
        allow_blank=True,
        help_text="Where the account is, for providers that have no address of their own.",
    )
    options = OptionsField(required=False, default=dict, help_text="What this provider's `account_options` name.")


class CredentialSerializer(serializers.Serializer):
    provider = serializers.CharField()
    hint = serializers.CharField(help_text="The last characters of the key, to tell keys apart.")
    account_name = serializers.CharField(help_text="What the provider calls the account; blank: it does not tell.")
    base_url = serializers.CharField()
    options = OptionsField()
    checked_at = serializers.DateTimeField(allow_null=True, help_text="Last time the provider accepted the key.")
    problem = serializers.CharField(help_text="A sentence when the key does not work now, else blank.")
    balance = serializers.FloatField(allow_null=True, help_text="US dollars left in the account; null: not known.")
    spend_per_hour = serializers.FloatField(allow_null=True, help_text="By everything that runs in the account.")
    balance_at = serializers.DateTimeField(allow_null=True)
    updated_at = serializers.DateTimeField()
