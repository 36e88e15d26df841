"""A daemon that others reach: refused without tokens and TLS, served with them, its certificate renewed by SIGHUP."""

from __future__ import annotations

import json
import ssl
from urllib.parse import urlsplit

from support.certificates import Authority
from support.daemon import until


def test_a_daemon_that_others_reach(place):
    place.node("here")
    place.job("job", command=["true"])
    place.job("other", command=["true"])
    authority = Authority(place.root)
    authority.issue("server")
    settings = place.root / "distcrond.yaml"
    settings.write_text(json.dumps({"api": {"tls": {"certificate_file": "server.pem", "key_file": "server.key"}}}))
    exposed = ("--config", str(settings), "--listen", "0.0.0.0:0")

    refused = place.run("--listen", "0.0.0.0:0")
    assert refused.returncode == 1
    assert "needs TLS (api.tls" in refused.stderr
    assert "distcronctl token create" in refused.stderr
    refused = place.run(*exposed)
    assert (refused.returncode, "needs a token" in refused.stderr) == (1, True)

    place.start()
    made = place.ctl("token", "create", "ci", "--scope", "operate", "--jobs", "job")
    place.terminate()
    (place.root / "ci.token").write_text(made.stdout)

    place.start(*exposed)
    assert place.url.startswith("https://localhost:")
    place.variables |= {"DISTCRON_SERVER": place.url, "SSL_CERT_FILE": str(authority.file)}
    place.ctl("jobs", code=4)
    place.variables["DISTCRON_TOKEN_FILE"] = str(place.root / "ci.token")
    assert place.ctl("jobs", "-o", "name").stdout.split() == ["job"]
    place.ctl("run", "job", "--wait")
    place.ctl("run", "other", code=3)
    place.ctl("reload", code=4)
    assert "token:ci: POST '/api/v1/jobs/job/run': 202" in place.log()

    where = ("127.0.0.1", urlsplit(place.url).port)
    before = ssl.get_server_certificate(where)
    authority.issue("server")
    place.hang_up()
    until(lambda: ssl.get_server_certificate(where) != before, what=place.log)
    assert place.ctl("jobs", "-o", "name").stdout.split() == ["job"]
    assert made.stdout.strip() not in place.log()

    tls = {"certificate_file": "server.pem", "key_file": "server.key", "client_ca_file": "ca.pem"}
    settings.write_text(json.dumps({"api": {"tls": tls}}))
    place.terminate()
    place.start(*exposed)
    place.variables["DISTCRON_SERVER"] = place.url
    place.ctl("jobs", code=5)
    certificate, key = authority.issue("client")
    assert place.ctl("jobs", "-o", "name", "--certificate", str(certificate), "--key", str(key)).stdout == "job\n"
    place.variables |= {"DISTCRON_CERTIFICATE": str(certificate), "DISTCRON_KEY": str(key)}
    place.ctl("run", "job", "--wait")
    refused = place.ctl("jobs", "--key", str(place.root / "none"), code=2)
    assert "--certificate: No such file or directory" in refused.stderr
