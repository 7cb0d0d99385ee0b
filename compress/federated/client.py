"""Client half of a round: it answers each message of the server.

It accepts only what the server has signed, trains only in the run in which it enrolled, and stores its residual and its
receipts in its folder. A client that was killed continues from the same folder.

Messages, each with its answer of the same kind (header; payload):

    enrol    {opening}                                      -> {line, band}
    train    {begin, weight, form, training, seed}; model   -> {line}; update
    logits   {begin, training, seed, public}; model         -> {line}; logits
    receipt  {receipt}                                      -> {}

and in masked rounds (:mod:`.masking`), in which train also has {boxes}:

    keys     {begin}                                        -> {keys, public, signature}
    shares   {begin, keys}                                  -> {}; encrypted shares
    unmask   {begin, survivors}                             -> {}; shares of secrets

A client that does not take part answers ``declined {reason, sentence}``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from certify.core.data_use.guard import acting
from certify.core.errors import DataError, NotPermittedError
from certify.core.federation import Begin, Enrolment, Entry, Mask, Payload, Run, Signed, Spent, sign, verified
from certify.core.federation.fields import MAX_BAND
from certify.core.signing_keys import PublicKey, SigningKey
from compress.federated.client_folder import ClientFolder
from compress.federated.costs import Bill, Spending
from compress.federated.forms import Int8, form_of
from compress.federated.idle import Declined, Idle
from compress.federated.learner import Learner, LocalTraining, Moment
from compress.federated.local_data import LocalData
from compress.federated.masking import MaskedRound
from compress.federated.messages import Message
from compress.federated.public_samples import PublicSamples
from compress.federated.weights import Vector

# Room for the fields of a message besides the model.
MODEL_SLACK_BYTES = 1024
MOST_WEIGHT = 2.0**MAX_BAND
"""The largest band of samples over the smallest."""


@dataclass
class Client:
    """A client; the module's docstring lists its messages.

    Attributes:
        key: key that signs its entries.
        data: function that loads its samples, called when they are first needed.
        learner: local training of the model's architecture.
        store: its folder.
        spending: meter of its costs.
        idle: idle policy; None to compute at any time.
        purpose: purpose of use if a use policy governs its data; None otherwise.
        public: function that returns the public samples of distillation; None if there are none.
        tamper: function that changes an update before it is sent, for experiments with poisoned clients.
    """

    key: SigningKey
    data: Callable[[], LocalData]
    learner: Learner
    store: ClientFolder
    spending: Spending
    idle: Idle | None = None
    purpose: str | None = None
    public: Callable[[], PublicSamples] | None = None
    tamper: Callable[[np.ndarray], np.ndarray] | None = None
    _masked: MaskedRound | None = field(default=None, init=False)
    _data: LocalData | None = field(default=None, init=False)

    @property
    def id(self) -> str:
        """Client id, as in entries."""
        return self.key.public.key_id

    @property
    def in_round(self) -> bool:
        """Whether it holds secrets of an unfinished masked round, so that it must stay in memory."""
        return self._masked is not None

    def answer(self, message: bytes) -> bytes:
        """See :meth:`compress.federated.transport.Participant.answer`."""
        # No message holds more than a model of this architecture.
        request = Message.parse(message, self.learner.layout.content_bytes + MODEL_SLACK_BYTES)
        answers = {
            "enrol": self._enrol, "keys": self._keys, "shares": self._shares, "train": self._train,
            "unmask": self._unmask, "receipt": self._receipt, "logits": self._logits,
        }  # fmt: skip
        if request.kind not in answers:
            raise DataError(f"Messages of kind '{request.kind[:40]}' are unknown.")
        try:
            return answers[request.kind](request).content()
        except Declined as error:
            return Message("declined", {"reason": error.reason, "sentence": str(error)}).content()
        except NotPermittedError as error:
            return Message("declined", {"reason": "policy", "sentence": str(error)}).content()

    def _enrol(self, request: Message) -> Message:
        opening = request.expect("enrol", opening=str)["opening"].encode()
        run = self.store.join(opening).message
        if self.purpose is not None and run.use.purpose != self.purpose:
            raise NotPermittedError(
                f"The run is for {run.use.purpose}, and this client's data are used for {self.purpose}."
            )
        data = self._local()
        line = sign(Enrolment(run.run, self.key.public.hex, data.policy), self.key).line
        return Message("enrol", {"line": line.decode(), "band": data.band})

    def _train(self, request: Message) -> Message:
        masked = self._masked if "boxes" in request.values else None
        more = {} if masked is None else {"boxes": dict}
        settings = request.expect("train", begin=str, weight=float, form=dict, training=dict, seed=int, **more)
        run, begin = self._begun(settings["begin"], request.payload)
        self.store.require_new(begin)
        form, weight = form_of(settings["form"], self.learner.layout.parts), float(settings["weight"])
        # A server's weight multiplies the update: 0 or infinity would leave a residual that is not a number.
        if not 1 / MOST_WEIGHT <= weight <= MOST_WEIGHT:
            raise DataError(f"The weight of an update must be in [2^-{MAX_BAND}, 2^{MAX_BAND}], got {weight}.")
        with self._measured() as bill, acting(run.use.action):
            update = self._learn(run, begin, request.payload, settings) * np.float32(weight)
            if self.tamper is not None:
                update = self.tamper(update).astype(np.float32)
            residual = self.store.residual(len(update))
            left: Vector | None
            if masked is not None and isinstance(form, Int8):
                integers, left = form.integers(update, residual)
                payload = masked.hide(integers, settings["boxes"])
            else:
                payload, left = form.encode(update, residual)
            if not all(np.isfinite(each).all() for each in (update, left) if each is not None):
                raise DataError("The update is not finite under the settings of this round, so it is not sent.")
        mask = None if masked is None else masked.record()
        return self._answered("train", run, begin, request.payload, payload, left, bill.spent, mask)

    def _logits(self, request: Message) -> Message:
        values = request.expect("logits", begin=str, training=dict, seed=int, public=str)
        run, begin = self._begun(values["begin"], request.payload)
        self.store.require_new(begin)
        if self.public is None or (public := self.public()).digest != values["public"]:
            raise DataError("This client does not have the public samples named by the server.")
        with self._measured() as bill, acting(run.use.action):
            self._learn(run, begin, request.payload, values)
            payload = public.answers(self.learner.model)
        return self._answered("logits", run, begin, request.payload, payload, None, bill.spent, None)

    def _learn(self, run: Run, begin: Begin, model: bytes, values: dict[str, Any]) -> Vector:
        training, pause = LocalTraining.from_json(values["training"]), None if self.idle is None else self.idle.step
        if values["seed"] < 0:
            raise DataError(f"The seed of a round must be at least 0, got {values['seed']}.")
        moment = Moment(begin.number, run.rounds, values["seed"])
        return self.learner.learn(model, self._local(), training, moment, pause)

    def _keys(self, request: Message) -> Message:
        run, begin = self._begun(request.expect("keys", begin=str)["begin"], None)
        if self.idle is not None:
            self.idle.require()
        # Use fresh secrets for every attempt, because a repeated secret would mask two updates alike.
        self._masked = MaskedRound.start(self.id, begin, run.mask_threshold)
        return self._masked.keys(self.key)

    def _shares(self, request: Message) -> Message:
        return self._in_masks(request).shares(request)

    def _unmask(self, request: Message) -> Message:
        try:
            return self._in_masks(request).unmask(request)
        finally:
            # Discard the secrets even after an error, because they must not answer a second request.
            self._masked = None

    def _receipt(self, request: Message) -> Message:
        receipt = request.expect("receipt", receipt=str)["receipt"].encode()
        self.store.received(receipt, self._server())
        return Message("receipt", {})

    def _begun(self, line: str, model: bytes | None) -> tuple[Run, Begin]:
        """Return the run and the attempt of a message, after checking the server's signature.

        Raises:
            DataError: it is of another run, this client was not selected, or the model differs from the signed one.
            CertificateError: the server did not sign it.
        """
        found = _signed_begin(line, self._server())
        run = self._run().message
        # Otherwise a server could replay the signed start of a round to clients that were not drawn.
        if found.run != run.run or self.id not in found.selected:
            raise DataError("The round is of another run, or this client was not selected for it.")
        if model is not None and found.payload != Payload(hashlib.sha256(model).hexdigest(), len(model)):
            raise DataError("The model is not the one that the server signed for this round.")
        return run, found

    def _run(self) -> Signed[Run]:
        run = self.store.run()
        if run is None:
            raise DataError("This client is not in a run; the server must enrol it first.")
        return run

    def _server(self) -> PublicKey:
        return PublicKey(bytes.fromhex(self._run().message.server))

    def _in_masks(self, request: Message) -> MaskedRound:
        line = request.values.get("begin")
        begin = self._begun(line if isinstance(line, str) else "", None)[1]
        if self._masked is None or self._masked.begin.nonce != begin.nonce:
            raise DataError("This client holds no masks of the round; it was restarted, or is too late.")
        return self._masked

    def _answered(
        self,
        kind: str,
        run: Run,
        begin: Begin,
        received: bytes,
        sent: bytes,
        left: Vector | None,
        spent: Spent,
        mask: Mask | None,
    ) -> Message:
        """Return an answer with its signed entry; the residual is stored first."""
        data = self._local()
        entry = sign(
            Entry(
                run=run.run, number=begin.number, nonce=begin.nonce, client=self.id,
                received=Payload(hashlib.sha256(received).hexdigest(), len(received)),
                sent=Payload(hashlib.sha256(sent).hexdigest(), len(sent)),
                band=data.band, spent=spent, policy=data.policy, mask=mask,
            ),
            self.key,
        )  # fmt: skip
        # Save before sending the answer, so that a kill in between loses the update instead of counting it twice.
        self.store.sent(entry, left, begin.attempt)
        return Message(kind, {"line": entry.line.decode()}, sent)

    def _local(self) -> LocalData:
        if self._data is None:
            self._data = self.data()
        return self._data

    @contextlib.contextmanager
    def _measured(self) -> Iterator[Bill]:
        """Measure a block, which begins only if the idle policy allows it, and count its energy towards the day."""
        if self.idle is not None:
            self.idle.require()
        bill = Bill()
        try:
            with self.spending.measured() as bill:
                yield bill
        finally:  # energy used before giving up counts too
            if self.idle is not None:
                self.idle.used(bill.spent.energy_j)


@functools.lru_cache(maxsize=16)
def _signed_begin(line: str, server: PublicKey) -> Begin:
    """Return the start of a round, checked once for all clients of the process."""
    found: Begin = verified(line.encode(), "The start of the round", server, "begin").message
    return found
