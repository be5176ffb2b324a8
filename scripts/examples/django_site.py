"""A Django site whose requests and whose orders' changes are in the audit log, with who did it.

hansard serve --dir ./audit &
SITE=/tmp/site.db HANSARD_DIR=./audit gunicorn --chdir scripts/examples django_site:application \
    --workers 2 --preload &
curl -X POST -H 'X-User: alice' -H 'X-Request-ID: r-1' localhost:8000/orders/7/paid
hansard query --dir ./audit --actor user:alice
"""

import os

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="an example's",  # noqa: S106
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["SITE"]}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "hansard.integrations.django",  # connects to the models that are audited
    ],
    MIDDLEWARE=[
        "hansard.integrations.django.middleware.AuditMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        f"{__name__}.UserMiddleware",
    ],
    AUTHENTICATION_BACKENDS=["django.contrib.auth.backends.RemoteUserBackend"],
    HANSARD={"user_field": "username", "signins": False},
)
django.setup()

# What needs the apps to be there, as in any module of models or views.
from django.contrib.auth.middleware import RemoteUserMiddleware  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

from hansard.integrations.django import log  # noqa: E402
from hansard.integrations.django.models import AuditedModel  # noqa: E402


class UserMiddleware(RemoteUserMiddleware):
    """Whoever stands before the site has authenticated them."""

    header = "HTTP_X_USER"


class Order(AuditedModel):
    """An audited model: who changes an order, from what to what, is in the log."""

    number = models.IntegerField(primary_key=True)
    status = models.CharField(max_length=20, default="open")

    class Meta:
        app_label = "shop"


@transaction.atomic
def pay(request: HttpRequest, number: int) -> JsonResponse:
    """Pays an order, or does not: then none of this has happened, for the log either."""
    order = Order.objects.get_or_create(number=number)[0]
    order.status = "paid"
    order.save()
    if request.GET.get("funds") == "none":
        transaction.set_rollback(True)
        log().record("payment.refused", {"order": number}, level="warning")
        return JsonResponse({"error": "no funds"}, status=402)
    return JsonResponse({"order": number, "status": order.status})


def home(_: HttpRequest) -> JsonResponse:
    """Records nothing, so nobody is asked for."""
    return JsonResponse({"orders": "/orders/<number>/paid"})


urlpatterns = [path("", home), path("orders/<int:number>/paid", pay)]


def prepare() -> None:
    """What ``manage.py migrate`` does elsewhere."""
    call_command("migrate", verbosity=0)
    if Order._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            editor.create_model(Order)
    connection.close()  # the workers have their own


prepare()
application = get_wsgi_application()
