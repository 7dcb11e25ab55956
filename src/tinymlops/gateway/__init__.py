"""What devices talk to: HTTP in, the fleet's record and the object store behind it."""

from tinymlops.gateway.app import create_app
from tinymlops.gateway.keys import GatewayKey
from tinymlops.gateway.server import Listening, serve
from tinymlops.gateway.settings import GatewaySettings, RateLimits

__all__ = ["GatewayKey", "GatewaySettings", "Listening", "RateLimits", "create_app", "serve"]
