"""Configuration, from the environment alone. What is missing or contradictory stops the start and names the variable.

README.md lists every variable with its meaning; nothing else reads the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import environ
import structlog
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from acs.billing_settings import *  # noqa: F403 - everything there is a setting
from tenants.keyring import Keyring

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()


def required(name: str, hint: str) -> str:
    value = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(
            f"{name} is not set: {hint}. `make run` sets it for a demonstration; README.md tells what production needs."
        )
    return str(value)


DEBUG = env.bool("ACS_DEBUG", default=False)
SECRET_KEY = required("SECRET_KEY", "a random text of 50 characters or more that signs sessions")
if len(SECRET_KEY) < 32:
    raise ImproperlyConfigured("SECRET_KEY is shorter than 32 characters: sessions could be forged")

# ---- secrets at rest -------------------------------------------------------------------------------------------------
try:
    KEYRING = Keyring.parse(required("ACS_KEYRING", "id:base64 pairs of 32 random bytes, comma separated, the first one seals"))
except ValueError as error:
    raise ImproperlyConfigured(f"ACS_KEYRING: {error}") from error

# ---- services --------------------------------------------------------------------------------------------------------
required("DATABASE_URL", "postgresql://USER@HOST/NAME, with the role of this kind of process (acs_owner, acs_web, acs_worker, acs_mover)")
DATABASES: dict[str, dict[str, Any]] = {"default": env.db("DATABASE_URL")}
if DATABASES["default"]["ENGINE"] not in ("django.db.backends.postgresql", "django.db.backends.postgresql_psycopg2"):
    raise ImproperlyConfigured("DATABASE_URL must name a PostgreSQL database: the fleet rests on its row-level security")
WEB_THREADS = env.int("ACS_WEB_THREADS", default=8)
DATABASES["default"].update(
    ENGINE="django.db.backends.postgresql",
    CONN_MAX_AGE=0,
    OPTIONS={
        **DATABASES["default"].get("OPTIONS", {}),  # ?host=, ?sslmode= and the like
        "pool": {
            "min_size": 1,
            "max_size": env.int("ACS_DB_POOL", default=WEB_THREADS + 2),
            "timeout": env.int("ACS_DB_POOL_TIMEOUT", default=5),
        },
        "connect_timeout": 5,
        "options": "-c statement_timeout=30s -c lock_timeout=10s",
        "server_side_binding": True,  # with it PostgreSQL keeps the plans of repeated statements: planning cost more than running them
        "prepare_threshold": 5,
    },
)
REDIS_URL = required("REDIS_URL", "redis://[:PASSWORD@]HOST:PORT/DB of a Valkey or Redis server")
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}

# ---- the service itself ----------------------------------------------------------------------------------------------
PUBLIC_URL = required(
    "ACS_PUBLIC_URL", "the address under which devices and people reach this service, such as https://acs.example.com"
).rstrip("/")
ALLOWED_HOSTS = env.list("ACS_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL.startswith("https://") else []
TRUSTED_PROXIES = env.int("ACS_TRUSTED_PROXIES", default=0)  # how many proxies in front append to X-Forwarded-For
ANONYMOUS_BOOTSTRAP = env.bool("ACS_ANONYMOUS_BOOTSTRAP", default=True)
ANONYMOUS_LIMIT = env.str("ACS_ANONYMOUS_LIMIT", default="30/minute")
ADDRESS_LIMIT = env.str("ACS_ADDRESS_LIMIT", default="1000/second")
CREDENTIAL_LIMIT = env.str("ACS_CREDENTIAL_LIMIT", default="1000/second")
ACCOUNT_LIMIT = env.str("ACS_ACCOUNT_LIMIT", default="1000/second")
BAD_CREDENTIAL_LIMIT = env.str("ACS_BAD_CREDENTIAL_LIMIT", default="60/minute")
METRICS_TOKEN = env.str("ACS_METRICS_TOKEN", default="")  # the bearer token of /metrics; without one it answers loopback only
COUNTRY_HEADER = env.str(
    "ACS_COUNTRY_HEADER", default=""
)  # set by a proxy of ours, which strips it from callers; empty: nobody knows countries
MAX_BODY_BYTES = 16 * 1024

# ---- calls to addresses that users choose (tenants/outbound.py) ------------------------------------------------------
OUTBOUND_PORTS = env.list("ACS_OUTBOUND_PORTS", cast=int, default=[443])
OUTBOUND_ALLOWED = [
    each.lower() for each in env.list("ACS_OUTBOUND_ALLOWED", default=[])
]  # HOST:PORT that may be private, on any port, and without TLS

# ---- names and gateway -----------------------------------------------------------------------------------------------
TENANT_DOMAIN = env.str("ACS_TENANT_DOMAIN", default="")  # tenants are reached at https://<account>.<this>
GATEWAY_SOCKETS = env.list("ACS_GATEWAY_SOCKETS", default=[])  # HAProxy runtime sockets: a path, or HOST:PORT
if bool(TENANT_DOMAIN) != bool(GATEWAY_SOCKETS):
    missing = "ACS_GATEWAY_SOCKETS" if TENANT_DOMAIN else "ACS_TENANT_DOMAIN"
    raise ImproperlyConfigured(f"{missing} is not set: permanent names need both ACS_TENANT_DOMAIN and ACS_GATEWAY_SOCKETS")

# ---- people ----------------------------------------------------------------------------------------------------------
SIGNUP_OPEN = env.bool("ACS_SIGNUP_OPEN", default=False)  # closed: operators make the accounts
ADMIN_LOGIN_LIMIT = env.str("ACS_ADMIN_LOGIN_LIMIT", default="20/5 minutes")  # attempts at /admin, per address and per name that is tried
DEVICE_LOGIN_LIMIT = env.str("ACS_DEVICE_LOGIN_LIMIT", default="20/minute")  # confirmations, per person
ACCOUNT_ADAPTER = "acs.people.Adapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = env.str("ACS_EMAIL_VERIFICATION", default="mandatory")
if ACCOUNT_EMAIL_VERIFICATION not in ("mandatory", "optional", "none"):
    raise ImproperlyConfigured("ACS_EMAIL_VERIFICATION must be mandatory, optional or none")
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if PUBLIC_URL.startswith("https://") else "http"
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES
vars().update(env.email("ACS_EMAIL_URL", default="consolemail://"))
EMAIL_TIMEOUT = 20  # seconds, each step of the conversation with the mail server
DEFAULT_FROM_EMAIL = env.str("ACS_EMAIL_FROM", default="acs@localhost")

# ---- clusters --------------------------------------------------------------------------------------------------------
POLL_SECONDS = env.int("ACS_POLL_SECONDS", default=30)
if not 1 <= POLL_SECONDS <= 90:
    raise ImproperlyConfigured(
        f"ACS_POLL_SECONDS is {POLL_SECONDS}: from 1 to 90, for time between two polls more than 180 s apart is not billed"
    )
AUDIT_SECONDS = env.int("ACS_AUDIT_SECONDS", default=300)  # how often what each server runs is compared with what ACS meant
CLUSTER_TIMEOUT = env.float("ACS_CLUSTER_TIMEOUT", default=10.0)  # seconds, each call to a server
READY_OUTBOX_SECONDS = env.int("ACS_READY_OUTBOX_SECONDS", default=300)  # how old the oldest unconsumed event may be
PLACEMENT_REFRESH_SECONDS = env.float("ACS_PLACEMENT_REFRESH_SECONDS", default=5.0)  # how old a web process's view of the fleet may grow
LOAD_SECONDS = env.int("ACS_LOAD_SECONDS", default=10)  # how often the load of each cluster is sampled
REFUSAL_DAYS = env.int("ACS_REFUSAL_DAYS", default=30)
LOAD_SAMPLE_DAYS = env.int("ACS_LOAD_SAMPLE_DAYS", default=7)
STOCK_SHARE = env.float("ACS_STOCK_SHARE", default=0.5)  # of one core of an external cluster, for keys minted ahead and for its queue
STOCK_MOST = env.int("ACS_STOCK_MOST", default=50)  # keys ahead for one tenant
STOCK_LANES = env.int("ACS_STOCK_LANES", default=2)  # keys that requests themselves mint on one external cluster at a time
if not 0 < STOCK_SHARE <= 1 or STOCK_MOST < 0 or STOCK_LANES < 1:
    raise ImproperlyConfigured("ACS_STOCK_SHARE must be above 0 and at most 1, ACS_STOCK_MOST 0 or more, ACS_STOCK_LANES 1 or more")
HASHED_AHEAD = env.int("ACS_HASHED_AHEAD", default=13000)  # keys whose hash the web server has ready; 0: none
if not 0 <= HASHED_AHEAD <= 13107:
    raise ImproperlyConfigured(f"ACS_HASHED_AHEAD is {HASHED_AHEAD}: it must be from 0 to 13107, as many as a pipe of 1 MiB holds")
DERP_MAP = env.str("ACS_DERP_MAP", default="")  # a JSON or YAML file of relays; empty: one on loopback, for demonstrations

# ---- Django ----------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "acs.apps.OperatorsConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "django_structlog",
    "pgtrigger",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "tenants",
    "placement",
    "billing",
    "acs",
]
MIDDLEWARE = [
    "acs.middleware.RequestContext",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "acs.middleware.DevicesLane",  # what follows is for pages
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "acs.urls"
WSGI_APPLICATION = "acs.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "acs.people.surroundings",
            ]
        },
    }
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher", "django.contrib.auth.hashers.PBKDF2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", "allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL, LOGIN_REDIRECT_URL = "account_login", "account_home"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
STATIC_URL = "/static/"
STATIC_ROOT = env.path("ACS_STATIC_ROOT", default=str(BASE_DIR / "static"))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_MANIFEST_STRICT = False

# ---- security --------------------------------------------------------------------------------------------------------
SECURE_TLS = PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_TLS
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = 31536000 if SECURE_TLS else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}

# ---- API -------------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["acs.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["acs.api.permissions.HasScope"],
    "DEFAULT_PAGINATION_CLASS": "acs.api.pages.CursorPages",
    "PAGE_SIZE": 50,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "acs.errors.handle",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Admission/Control Service",
    "DESCRIPTION": "The front door and back office of a fleet of headscale servers.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "APPEND_COMPONENTS": {
        "securitySchemes": {
            "enrolmentKey": {
                "type": "http",
                "scheme": "bearer",
                "description": "An enrolment key of a tenant, `acs-enrol-...`, or a token (JWT) of an issuer that it trusts: it only bootstraps.",
            },
            "deviceSignature": {
                "type": "http",
                "scheme": "ACS-HMAC-SHA256",
                "description": "A device of an enrolment group signs with its derived key (clients/SIGNING.md).",
            },
        }
    },
    "ENUM_NAME_OVERRIDES": {
        "TenantState": "tenants.models.Tenant.State",
        "ClusterState": "placement.models.Cluster.State",
        "GrantState": "placement.models.Grant.State",
        "MovePlanState": "placement.models.MovePlan.State",
        "MovePlanKind": "placement.models.MovePlan.Kind",
        "AlertKind": "placement.models.Alert.Kind",
        "ClusterKind": "placement.models.Cluster.Kind",
        "InvoiceKind": "billing.models.Invoice.Kind",
        "InvoiceState": "billing.models.Invoice.State",
        "PriceKind": "billing.models.PriceComponent.Kind",
    },
}

# ---- tasks -----------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_TIME_LIMIT = 120
CELERY_TASK_SOFT_TIME_LIMIT = 90
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 600, "socket_timeout": 5, "socket_connect_timeout": 2, "max_retries": 1}
CELERY_TASK_PUBLISH_RETRY = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False

# ---- logs ------------------------------------------------------------------------------------------------------------
LOG_LEVEL = env.str("ACS_LOG_LEVEL", default="INFO")
SHARED_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
            "foreign_pre_chain": SHARED_PROCESSORS,
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "stripe": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        "httpcore2": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
    },
}
structlog.configure(
    processors=[structlog.stdlib.filter_by_level, *SHARED_PROCESSORS, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
