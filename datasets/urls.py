from django.urls import path

from datasets.files import signed_file

urlpatterns = [path("files/<slug:alias>/<str:token>", signed_file, name="signed-file")]
