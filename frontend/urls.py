from __future__ import annotations

from django.urls import path
from django.views.generic import RedirectView

from frontend.views import accounts, compare, datasets, favicon, jobs, preferences, spending

app_name = "frontend"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="frontend:jobs"), name="home"),
    path("sign-in/", accounts.SignIn.as_view(), name="sign_in"),
    path("sign-in/once/<str:token>/", accounts.sign_in_once, name="sign_in_once"),
    path("sign-out/", accounts.SignOut.as_view(), name="sign_out"),
    path("jobs/", jobs.job_list, name="jobs"),
    path("jobs/new/", jobs.new_job, name="new_job"),
    path("jobs/compare/", compare.compare, name="compare"),
    path("jobs/<uuid:job_id>/", jobs.job_page, name="job"),
    path("datasets/", datasets.dataset_list, name="datasets"),
    path("datasets/new/", datasets.upload, name="upload"),
    path("datasets/<uuid:dataset_id>/", datasets.dataset_page, name="dataset"),
    path("spending/", spending.spending_page, name="spending"),
    path("settings/", preferences.settings_page, name="settings"),
    path("favicon.svg", favicon.favicon, name="favicon"),
]
