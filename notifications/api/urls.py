from django.urls import path

from notifications.api.destinations import DeliveryViewSet, DestinationViewSet, SettingsView
from notifications.api.views import NotificationViewSet

NOTIFICATION, DESTINATION = "notifications/<uuid:notification_id>/", "destinations/<uuid:destination_id>/"

urlpatterns = [
    path("notifications/", NotificationViewSet.as_view({"get": "list"}), name="api-notifications"),
    path("notifications/unread/", NotificationViewSet.as_view({"get": "unread"}), name="api-notifications-unread"),
    path(
        "notifications/read-all/",
        NotificationViewSet.as_view({"post": "read_all"}),
        name="api-notifications-read-all",
    ),
    path(f"{NOTIFICATION}read/", NotificationViewSet.as_view({"post": "read"}), name="api-notification-read"),
    path("destinations/", DestinationViewSet.as_view({"get": "list", "post": "create"}), name="api-destinations"),
    path(
        DESTINATION,
        DestinationViewSet.as_view({"get": "retrieve", "patch": "change", "delete": "destroy"}),
        name="api-destination",
    ),
    path(f"{DESTINATION}test/", DestinationViewSet.as_view({"post": "test"}), name="api-destination-test"),
    path(
        f"{DESTINATION}new-secret/",
        DestinationViewSet.as_view({"post": "new_secret"}),
        name="api-destination-new-secret",
    ),
    path("deliveries/", DeliveryViewSet.as_view({"get": "list"}), name="api-deliveries"),
    path(
        "deliveries/<uuid:delivery_id>/send-again/",
        DeliveryViewSet.as_view({"post": "send_again"}),
        name="api-delivery-send-again",
    ),
    path("notification-settings/", SettingsView.as_view(), name="api-notification-settings"),
]
