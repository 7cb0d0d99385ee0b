"""Base class of meters whose counters or power sensors are found on first use."""

from __future__ import annotations

import abc
from typing import Generic, TypeVar

from certify.core.errors import LeanmarkError
from certify.measure.meters.base import Reading, Usage
from certify.measure.meters.counters import Counters
from certify.measure.meters.sampling import SampledPower

Source = TypeVar("Source", bound="Counters | SampledPower")


class Opened(abc.ABC, Generic[Source]):
    """A meter that finds its counters or power sensors on first use; see :class:`certify.measure.meters.base.Meter`."""

    _source: Source | None = None

    @abc.abstractmethod
    def _open(self) -> Source:
        """Find the counters or sensors to read.

        Raises:
            LeanmarkError: they cannot be read here.
        """

    def _ready(self) -> Source:
        if self._source is None:
            self._source = self._open()
        return self._source

    def unavailable(self) -> str | None:
        """Return why they cannot be read here, or None."""
        try:
            self._source = self._open()
        except LeanmarkError as error:
            return str(error)
        return None

    def start(self) -> None:
        """Read the counters, or start sampling."""
        self._ready().start()

    def stop(self, usage: Usage) -> Reading:
        """Read the counters again, or integrate the samples."""
        return self._ready().stop()
