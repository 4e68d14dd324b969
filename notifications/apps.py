from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    name = "notifications"
    verbose_name = "Notifications"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from notifications import signals, topics  # noqa: F401 - importing connects the signals
        from pipeline.live.topics import register

        register("notifications", topics.snapshot)
