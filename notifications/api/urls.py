from django.urls import path

from notifications.api.views import NotificationViewSet

urlpatterns = [
    path("", NotificationViewSet.as_view({"get": "list"}), name="api-notifications"),
    path("unread/", NotificationViewSet.as_view({"get": "unread"}), name="api-notifications-unread"),
    path("read-all/", NotificationViewSet.as_view({"post": "read_all"}), name="api-notifications-read-all"),
    path("<uuid:notification_id>/read/", NotificationViewSet.as_view({"post": "read"}), name="api-notification-read"),
]
