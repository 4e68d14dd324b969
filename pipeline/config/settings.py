"""Django's settings. What an installation may set comes from environment variables: see docs/settings.md."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.config import content, home, look, playground
from pipeline.config.env import Env

env = Env(playground.with_imitations())
STOKER_PLAYGROUND: bool = env.flag("STOKER_PLAYGROUND")

BASE_DIR = Path(__file__).resolve().parent.parent.parent

# Places and addresses

STOKER_HOME = env.path("STOKER_HOME", BASE_DIR / ".stoker")
STOKER_HOME.mkdir(parents=True, exist_ok=True)
HOST = env.text("HOST", "127.0.0.1")
PORT = env.integer("PORT", 8000, least=1, most=65535)
STOKER_PUBLIC_URL = env.url("STOKER_PUBLIC_URL", f"http://127.0.0.1:{PORT}")
STOKER_INSTALLATION = env.digits("STOKER_INSTALLATION", 8) or home.installation(STOKER_HOME)
STOKER_EMBEDDED_DATABASE = not env.is_set("DATABASE_URL")
STOKER_EMBEDDED_REDIS = not env.is_set("REDIS_URL")
PUBLIC = urlsplit(STOKER_PUBLIC_URL)
HTTPS = PUBLIC.scheme == "https"

# Safety of the web part

DEBUG = env.flag("DEBUG", False)
SECRET_KEY = env.secret("SECRET_KEY", home.secret_key(STOKER_HOME), least_length=50)
SECRET_KEY_FALLBACKS = env.names_list("SECRET_KEY_FALLBACKS")
# Seals people's provider keys. The first key seals, all of them open; see docs/settings.md for changing keys.
STOKER_ENCRYPTION_KEY_IS_GENERATED = not env.is_set("ENCRYPTION_KEY")
STOKER_ENCRYPTION_KEYS = env.keys(
    "ENCRYPTION_KEY", home.encryption_key(STOKER_HOME) if STOKER_ENCRYPTION_KEY_IS_GENERATED else "", size=32
)
# Addresses of clusters inside the operator's own network that people may name; see pipeline.providers.outside.
STOKER_PRIVATE_URLS = env.urls("STOKER_PRIVATE_URLS")
DEFAULT_EXCEPTION_REPORTER = "pipeline.config.reports.DiscreetReporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "pipeline.config.reports.DiscreetFilter"
ALLOWED_HOSTS = env.names_list("ALLOWED_HOSTS", ("localhost", "127.0.0.1", "[::1]", str(PUBLIC.hostname)))
CSRF_TRUSTED_ORIGINS = env.names_list("CSRF_TRUSTED_ORIGINS", (f"{PUBLIC.scheme}://{PUBLIC.netloc}",))
STOKER_TRUST_PROXY = env.flag("STOKER_TRUST_PROXY", False)
if STOKER_TRUST_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = HTTPS
# Asked by monitors beside the program, past the proxy.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = env.integer("STOKER_HSTS_SECONDS", 365 * 24 * 3600 if HTTPS else 0, least=0)
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_NAME = "stoker_session"
CSRF_COOKIE_NAME = "stoker_csrf"
X_FRAME_OPTIONS = "DENY"
# Subdomains and browsers' preload lists are for the owner of the domain to decide, not for one of its applications.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "manifest-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "object-src": ["'none'"],
    }
}
# The operators' site: where it is, who reaches it, and whether it asks for a code.

STOKER_ADMIN_PATH = env.folder("STOKER_ADMIN_PATH", "admin")
STOKER_ADMIN_ADDRESSES = env.networks("STOKER_ADMIN_ADDRESSES")
STOKER_ADMIN_TOTP = env.flag("STOKER_ADMIN_TOTP", False)
OTP_TOTP_ISSUER = "Stoker"
# The admin's own scripts build their expressions at run time and style their elements in place; staff alone reaches it.
STOKER_RELAXED_POLICIES = {
    f"/{STOKER_ADMIN_PATH}": {"script-src": ["'unsafe-inline'", "'unsafe-eval'"], "style-src": ["'unsafe-inline'"]},
}

# Applications

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "pipeline.config.adminapp.OperatorsAdmin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "django_celery_beat",
    "django_filters",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rest_framework",
    "datasets",
    "pipeline",
    "notifications",
    "frontend",
    "pipeline.config",
]

MIDDLEWARE = [
    "pipeline.config.trailing.request_id",
    "django.middleware.security.SecurityMiddleware",
    "pipeline.config.headers.ContentPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    *(["django_otp.middleware.OTPMiddleware"] if STOKER_ADMIN_TOTP else []),
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # Last, because it is synchronous only: all others are then called in the same thread, one after the other. Were it
    # further up, the server would change threads for each one below it, which costs a third of a short answer.
    "pipeline.config.headers.permissions_policy",
]

ROOT_URLCONF = "pipeline.config.urls"
ASGI_APPLICATION = "pipeline.config.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "pipeline.config.playground_accounts.banner",
            ],
        },
    },
]

LANGUAGE_CODE = "en-us"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

# People

AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "/sign-in/"
LOGIN_REDIRECT_URL = "/jobs/"
LOGOUT_REDIRECT_URL = "/sign-in/"

# Database. Only the web processes keep connections in a pool: Celery closes every connection around each task.

_database: dict[str, Any] = env.database("DATABASE_URL", home.postgres_url(STOKER_HOME))
_pool_size = env.integer("STOKER_DATABASE_POOL", 0, least=0, most=200)
_statement_ms = 1000 * env.integer("STOKER_STATEMENT_SECONDS", 15, least=0)
DATABASES = {
    "default": {
        **_database,
        "CONN_MAX_AGE": 0,
        "ATOMIC_REQUESTS": False,
        "OPTIONS": {
            "connect_timeout": 5,
            "tcp_user_timeout": 10_000,
            "options": f"-c statement_timeout={_statement_ms} -c lock_timeout=5000"
            " -c idle_in_transaction_session_timeout=30000",
            **_database.get("OPTIONS", {}),
            **({"pool": {"min_size": 2, "max_size": max(2, _pool_size), "timeout": 5}} if _pool_size else {}),
        },
    }
}

# Redis or Valkey: hints only. One numbered database for each use, so that none can crowd out another.

REDIS_URL = home.valkey_url(STOKER_HOME) if STOKER_EMBEDDED_REDIS else env.redis("REDIS_URL")
STOKER_HINTS_URL = home.redis_database(REDIS_URL, 1)
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": home.redis_database(REDIS_URL, 2),
        "KEY_PREFIX": "stoker",
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
    }
}

# Background tasks. A message is a hint: whatever one asks for, the next beat finds in the database.

CELERY_BROKER_URL = home.celery_url(REDIS_URL, 0)
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_POOL_ACQUIRE_TIMEOUT = 2
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "global_keyprefix": "stoker:",
    "socket_timeout": 3,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 10,
}
CELERY_RESULT_BACKEND = None
CELERY_RESULT_EXPIRES = None  # otherwise beat adds a nightly clean-up, by the clock, of results that do not exist
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_SOFT_TIME_LIMIT = 45
CELERY_TASK_TIME_LIMIT = 60
CELERY_TASK_SEND_SENT_EVENT = False
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_WORKER_POOL = "prefork"
CELERY_WORKER_CONCURRENCY = env.integer("STOKER_WORKER_CONCURRENCY", 2, least=1, most=64)
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_DISABLE_PREFETCH = True
CELERY_WORKER_MAX_TASKS_PER_CHILD = 500
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 400_000
CELERY_WORKER_ETA_TASK_LIMIT = 100
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 5

# Copied into the database when missing there (pipeline.config.schedules); from then on the rows in the admin count.
# Not CELERY_BEAT_SCHEDULE: beat would overwrite an operator's changes with it at each start.
STOKER_SCHEDULES: dict[str, tuple[str, int]] = {
    "Submit queued jobs": ("pipeline.tasks.submit_due", 30),
    "Follow running jobs": ("pipeline.tasks.poll_due", 30),
    "Cancel jobs": ("pipeline.tasks.cancel_due", 30),
    "Look for forgotten machines": ("pipeline.tasks.sweep_due", 60),
    "Watch budgets": ("pipeline.tasks.enforce_budgets_due", 15),
    "Look at rules": ("pipeline.tasks.judge_rules_due", 15),
    "Read the bills of ended machines": ("pipeline.tasks.check_invoices_due", 300),
    "Look at what is left in accounts": ("pipeline.tasks.check_balances_due", 300),
    "Show that beat is alive": ("pipeline.tasks.beat_tick", 15),
    "Check uploaded datasets": ("datasets.tasks.check_due", 30),
    "Forget answers and counts whose time is over": ("pipeline.tasks.forget_due", 3600),
    "Prune metrics and logs of old jobs": ("pipeline.tasks.prune_due", 3600),
    "Deliver notifications": ("notifications.tasks.deliver_due", 30),
    "Send notifications to destinations": ("notifications.tasks.send_due", 30),
}

# Files that people bring and jobs leave

STOKER_STORAGE = env.choice("STOKER_STORAGE", "local", ("local", "s3"))
STOKER_BUCKETS = {
    "lora-datasets": env.text("S3_BUCKET_LORA_DATASETS", "lora-datasets"),
    "training-files": env.text("S3_BUCKET_TRAINING_FILES", "training-files"),
    "artifacts": env.text("S3_BUCKET_ARTIFACTS", "artifacts"),
}


def _bucket(name: str) -> dict[str, Any]:
    if STOKER_STORAGE == "local":
        return {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": STOKER_HOME / "buckets" / name, "file_permissions_mode": 0o600},
        }
    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": STOKER_BUCKETS[name],
            "endpoint_url": env.url("S3_ENDPOINT_URL", "") if env.is_set("S3_ENDPOINT_URL") else None,
            "region_name": env.text("S3_REGION") or None,
            "access_key": env.text("S3_ACCESS_KEY_ID") or None,
            "secret_key": env.secret("S3_SECRET_ACCESS_KEY", "", least_length=0) or None,
            "addressing_style": env.choice("S3_ADDRESSING_STYLE", "auto", ("auto", "path", "virtual")),
            "signature_version": "s3v4",
            "default_acl": None,
            "querystring_auth": True,
            "file_overwrite": False,
        },
    }


STORAGES = {
    "default": _bucket("artifacts"),
    **{name: _bucket(name) for name in STOKER_BUCKETS},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
FILE_UPLOAD_TEMP_DIR = STOKER_HOME / "uploads"
FILE_UPLOAD_TEMP_DIR.mkdir(mode=0o700, exist_ok=True)
DATA_UPLOAD_MAX_MEMORY_SIZE = 3 * 1024 * 1024
STOKER_MAX_UPLOAD_MB = env.integer("STOKER_MAX_UPLOAD_MB", 2048, least=1)

# Scripts, styles and fonts. The address holds a digest of the content, so browsers may keep every file for ever, and
# ES modules that import each other by relative names need no rewriting.

STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "pipeline.config.finders.VendorFinder",
]
STATIC_URL = f"/static/{content.digest(BASE_DIR)}/"
STATIC_ROOT = STOKER_HOME / "static"

# Training

STOKER_TRAINER_PYTHON = env.path("STOKER_TRAINER_PYTHON", content.trainer_python(STOKER_HOME, BASE_DIR))
STOKER_MODELS_DIR = env.path("STOKER_MODELS_DIR", STOKER_HOME / "models")
STOKER_LOCAL_SLOTS = env.integer("STOKER_LOCAL_SLOTS", 1, least=0, most=64)
# Another program instead of the training program, for tests and for trying things out.
STOKER_LOCAL_COMMAND = shlex.split(env.text("STOKER_LOCAL_COMMAND")) or None
STOKER_LOCAL_STOP_GRACE_SECONDS = env.integer("STOKER_LOCAL_STOP_GRACE_SECONDS", 60, least=1, most=3600)
STOKER_LOCAL_PRICE_PER_HOUR = env.decimal("STOKER_LOCAL_PRICE_PER_HOUR", "0", least=0)
RUNPOD_API_URL = env.url("RUNPOD_API_URL", "https://api.runpod.io/v2")
RUNPOD_GRAPHQL_URL = env.url("RUNPOD_GRAPHQL_URL", "https://api.runpod.io/graphql")  # for the balance only
RUNPOD_IMAGE = env.text("RUNPOD_IMAGE")
RUNPOD_DISK_GB = env.integer("RUNPOD_DISK_GB", 80, least=10, most=10_000)
RUNPOD_MIN_CUDA_VERSION = env.text("RUNPOD_MIN_CUDA_VERSION")
# The cluster of those who name no other in their account; empty: everybody names one.
GPU_CLUSTER_API_URL = env.url("GPU_CLUSTER_API_URL", "") if env.is_set("GPU_CLUSTER_API_URL") else ""
STOKER_SUBMITS_PER_CYCLE = env.integer("STOKER_SUBMITS_PER_CYCLE", 5, least=1)
STOKER_POLLS_PER_CYCLE = env.integer("STOKER_POLLS_PER_CYCLE", 2000, least=1)
STOKER_PROVIDERS = {
    "local": "pipeline.providers.local.LocalProvider",
    "simulated": "pipeline.providers.simulated.SimulatedProvider",
    "runpod": "pipeline.providers.runpod.RunPodProvider",
    "cluster": "pipeline.providers.cluster.ClusterProvider",
    **(playground.PROVIDERS if STOKER_PLAYGROUND else {}),
}

# Interface for programs

STOKER_REQUESTS_PER_MINUTE = env.integer("STOKER_REQUESTS_PER_MINUTE", 1200, least=0)
STOKER_CREATIONS_PER_MINUTE = env.integer("STOKER_CREATIONS_PER_MINUTE", 120, least=0)
STOKER_EVENTS_PER_MINUTE = env.integer("STOKER_EVENTS_PER_MINUTE", 100_000, least=0)
REST_FRAMEWORK = {
    # The token first: what the first one says of itself makes the answer to a stranger 401 and not 403.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "pipeline.api.auth.ApiTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["pipeline.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "pipeline.api.errors.problem_handler",
    "DEFAULT_THROTTLE_CLASSES": ["pipeline.api.throttling.PersonThrottle"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PAGINATION_CLASS": "pipeline.api.pagination.Pages",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "NUM_PROXIES": 1 if STOKER_TRUST_PROXY else 0,
    "COERCE_DECIMAL_TO_STRING": False,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Stoker",
    "DESCRIPTION": "Fine-tuning jobs: datasets, jobs, metrics, artifacts, notifications.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "pipeline.api.schema.with_problems",
        "pipeline.api.schema.with_guide",
    ],
    "ENUM_NAME_OVERRIDES": {
        "JobStatus": "pipeline.states.JobStatus",
        "AttemptState": "pipeline.states.AttemptState",
        "DatasetStatus": "datasets.models.Status",
        "NotificationType": "notifications.models.Kind",
        "DestinationKind": "notifications.models.Destination.Type",
        "DeliveryState": "notifications.models.Delivery.State",
        "RuleKindName": "pipeline.rule_kinds.RuleKind",
        "RuleAction": "pipeline.rule_kinds.RuleAction",
        "RuleState": "pipeline.services.rulebook.RuleState",
        "RuleParameterType": "pipeline.rule_kinds.Type",
    },
}
UNFOLD = look.UNFOLD

# E-mail, and other ways to tell people

# Services of Apprise that may be called beside those whose hosts are fixed; see notifications.transports.apprise.
STOKER_APPRISE_SCHEMES = [name.lower() for name in env.names_list("STOKER_APPRISE_SCHEMES")]
EMAIL_HOST = env.text("EMAIL_HOST")
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_HOST else 'console'}.EmailBackend"
EMAIL_PORT = env.integer("EMAIL_PORT", 587, least=1, most=65535)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env.secret("EMAIL_HOST_PASSWORD", "", least_length=0)
EMAIL_USE_TLS = env.flag("EMAIL_USE_TLS", True)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", f"stoker@{PUBLIC.hostname}")

# Old jobs

# 0: metrics and logs are kept for ever.
STOKER_KEEP_METRICS_DAYS = env.integer("STOKER_KEEP_METRICS_DAYS", 0, least=0, most=36_500)

# What monitors read, and logs

STOKER_METRICS_TOKEN = env.secret("STOKER_METRICS_TOKEN", "", least_length=0)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "pipeline.config.logs.TextLines"},
        "json": {"()": "pipeline.config.logs.JsonLines"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": env.choice("STOKER_LOG_FORMAT", "text", ("text", "json")),
        }
    },
    "root": {
        "handlers": ["stderr"],
        "level": env.choice("STOKER_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
    },
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
        "daphne": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "django_celery_beat": {"level": "WARNING"},
    },
}
