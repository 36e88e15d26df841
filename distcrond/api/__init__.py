"""HTTP: asks `engine.queries`, changes things through `engine.control`, and says no with a reason (CONTRACT §3).

Knows no adapter, no page and no file. A request travels: listener → Host check → access (`auth`) → parameters and body
(`parameters`, `bodies`) → handler → document or problem. `routes` is the whole surface at a glance; what is not in that
table does not exist, and a line in it cannot be written without its scope.
"""

from distcrond.api.listeners import TcpAddress, UnixAddress
from distcrond.api.server import Api

__all__ = ["Api", "TcpAddress", "UnixAddress"]
