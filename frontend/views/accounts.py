from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import login
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_GET

from frontend import signin


class SignInForm(AuthenticationForm):
    error_messages = AuthenticationForm.error_messages | {
        "invalid_login": "This name and password do not belong together. Capital letters count."
    }


class SignIn(LoginView):
    form_class = SignInForm
    template_name = "frontend/sign_in.html"
    redirect_authenticated_user = True
    next_page = "frontend:jobs"

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if seconds := signin.brake(request):
            form = self.get_form()
            form.add_error(None, signin.wait_sentence(seconds))
            context = self.get_context_data(form=form)
            return self.render_to_response(context, status=429, headers={"Retry-After": str(seconds)})
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        signin.release(self.request)
        return super().form_valid(form)


@csrf_protect
@never_cache
def admin_sign_in(request: HttpRequest) -> HttpResponse:
    """The admin's own page, behind the same brake as ours."""
    if request.method == "POST" and (seconds := signin.brake(request)):
        context = {"refusal": signin.wait_sentence(seconds), "form": AuthenticationForm()}
        page = render(request, "frontend/sign_in.html", context, status=429)
        page.headers["Retry-After"] = str(seconds)
        return page
    answer = admin.site.login(request)
    if request.method == "POST" and answer.status_code == 302:  # only the right password leads on
        signin.release(request)
    return answer


class SignOut(LogoutView):
    http_method_names = ["post", "options"]
    next_page = "frontend:sign_in"


@never_cache
@require_GET
def sign_in_once(request: HttpRequest, token: str) -> HttpResponse:
    """Sign in by a one-time link and go where it leads, or say why it does not work."""
    try:
        user, next_path = signin.use_link(token)
    except signin.LinkRefused as refusal:
        if isinstance(refusal, signin.LinkUsed) and refusal.user_id == str(request.user.pk):
            return _go(refusal.next_path)
        context = {"refusal": str(refusal), "form": AuthenticationForm()}
        return render(request, "frontend/sign_in.html", context, status=410)
    login(request, user)
    return _go(next_path)


def _go(next_path: str) -> HttpResponse:
    safe = url_has_allowed_host_and_scheme(next_path, allowed_hosts=None)
    return redirect(next_path if safe else "frontend:jobs")
