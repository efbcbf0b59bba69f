"""A service that is told to stop does not wait for those who wait for events."""

import http.client
import json
import signal
from contextlib import closing
from urllib.parse import urlsplit

from tests.support.dev import PATIENT, a_place, running_dev
from tests.support.feed import EVENTS


def test_streams_and_long_polls_are_ended_whole_when_the_service_stops() -> None:
    with a_place() as place, running_dev(place, "--ephemeral", **PATIENT) as dev:
        key = {"X-Api-Key": dev.said["api_key"]}
        polling = http.client.HTTPConnection(urlsplit(dev.said["url"]).netloc, timeout=30)
        with (
            closing(polling),
            dev.api.stream("GET", "/events/stream?after=now") as stream,
        ):
            lines = stream.iter_lines()
            assert next(lines) == "retry: 1000"
            polling.request("GET", f"{EVENTS}?after=now&wait=30", headers=key)
            # What was sent later is answered: the service has the poll.
            assert dev.api.get("/events").status_code == 200
            dev.process.send_signal(signal.SIGINT)
            # Cut off after the grace, neither would end, but break.
            assert [line for line in lines if line and not line.startswith(("id:", ":"))] == []
            answer = polling.getresponse()
            assert (answer.status, json.loads(answer.read())["data"]) == (200, [])
        assert dev.process.wait() == 0
