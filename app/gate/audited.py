"""What audits of accepted answers come to: a certificate of their regret, and alarms of drift.

An audit asks the alternative what it would have answered. It is verified once somebody who knows
says whether the accepted answer was right: a decisive evaluator, or its caller; that two models
agree does not count. Pure: the same audits in the same order come to the same, in every replica.

After an alarm nothing is certified, and what was audited before no longer counts. Delta holds from
one alarm to the next, for each scope and each promise of its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Final

from app.gate.certificate import Certificate, Promise, Tally
from app.gate.drift import Cusum, brier_residual

TENANT: Final = "tenant"
CATEGORY: Final = "category"
SCOPES: Final = (TENANT, CATEGORY)
"""Whose audits a certificate rests on: the tenant's own, or those that its category pools."""

STILL: Final = Cusum()


@dataclass(frozen=True, slots=True)
class Audit:
    """One accepted answer and its alternative. Times are Unix seconds, of the database.

    `versions` are those of both experts. `same` says whether they answered alike, None where one
    could not be read; `chance` what the gate gave the accepted one of being right. `cheap` and
    `alternative` are how right they verifiedly were, in [0, 1], since `verified_s`.
    """

    id: str
    versions: str
    audited_s: float
    same: bool | None = None
    chance: float | None = None
    cheap: float | None = None
    alternative: float | None = None
    verified_s: float | None = None

    @property
    def is_right(self) -> bool:
        """Whether the accepted answer was entirely right."""
        return self.cheap == 1

    @property
    def is_regretted(self) -> bool:
        """Whether it was wrong and the alternative right.

        Where nobody checked an alternative that differs, it counts as right: then more is
        regretted than was, and a certificate that stands all the same is true.
        """
        if self.is_right:
            return False
        if self.alternative is not None:
            return self.alternative > 0
        return not self.same


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate that stands: regret at most `epsilon`, with confidence 1 - `delta`.

    It rests on the first `audits` verified ones of its scope.
    """

    epsilon: float
    delta: float
    audits: int
    scope: str


@dataclass(frozen=True, slots=True)
class Vigil:
    """What the audits of one scope have come to so far.

    `since_s` is when the last alarm was, None before the first; an audit of before counts no more.
    `audits` counts all of them, `agreed` and `told` the readable ones since that alarm.
    """

    certificate: Certificate
    versions: str | None = None
    audits: int = 0
    alarms: int = 0
    since_s: float | None = None
    told: int = 0
    agreed: int = 0
    agreement: Cusum = STILL
    calibration: Cusum = STILL
    regret: Cusum = STILL

    def certified(self, scope: str, *, versions: str) -> Certified | None:
        """The certificate, where one stands for these very versions of the experts."""
        if self.certificate.certified is None or self.versions != versions:
            return None
        promise = self.certificate.promise
        looks = self.certificate.seen // promise.first_look
        audits = promise.first_look * 2 ** (looks.bit_length() - 1)
        return Certified(promise.epsilon, promise.delta, audits, scope)

    @property
    def has_looked(self) -> bool:
        """Whether its own audits have been enough to say something, be it that none stands."""
        return self.certificate.seen >= self.certificate.promise.first_look

    def audited(self, audit: Audit) -> "Vigil":
        """After an audit whose label may be yet to come."""
        after = replace(self, audits=self.audits + 1)
        if self.versions != audit.versions:
            changed = replace(after, versions=audit.versions)
            after = changed if self.versions is None else changed.alarmed(audit.audited_s)
        if audit.same is None:
            return after
        # What was predicted is the share of those before, which begin at an even chance.
        expected = (after.agreed + 1) / (after.told + 2)
        told = replace(
            after,
            told=after.told + 1,
            agreed=after.agreed + audit.same,
            agreement=after.agreement.told(audit.same - expected),
        )
        return told.alarmed(audit.audited_s) if told.agreement.alarms else told

    def verified(self, audit: Audit) -> "Vigil":
        """After the label of an audit; one of other versions, or of before an alarm, says nothing.

        More regret than a standing certificate promises is an alarm, and so are chances that are
        wrong by far.
        """
        at_s = audit.verified_s
        if at_s is None or audit.versions != self.versions:
            return self
        if self.since_s is not None and audit.audited_s < self.since_s:
            return self
        failed = audit.is_regretted
        stands = self.certificate.certified is not None
        residual = failed - self.certificate.promise.epsilon
        regret = self.regret.told(residual) if stands else STILL
        calibration = self.calibration
        if audit.chance is not None:
            calibration = calibration.told(
                brier_residual(chance=audit.chance, right=audit.is_right)
            )
        after = replace(
            self,
            certificate=self.certificate.audited(0, failed=failed),
            regret=regret,
            calibration=calibration,
        )
        return after.alarmed(at_s) if regret.rises or calibration.rises else after

    def alarmed(self, at_s: float) -> "Vigil":
        """After an alarm: all is to be shown anew."""
        return replace(
            vigil_of(self.certificate.promise),
            versions=self.versions,
            audits=self.audits,
            alarms=self.alarms + 1,
            since_s=at_s,
        )


def vigil_of(promise: Promise) -> Vigil:
    """Before the first audit."""
    return Vigil(Certificate(promise, (Tally(),)))


def watched(audits: Iterable[Audit], promise: Promise) -> Vigil:
    """What these audits of one scope have come to, each at its time and its label at its own.

    A label takes the place of when it first came, so that looks that were taken stay as they were.
    """
    events: list[tuple[tuple[float, bool, str], Audit]] = []
    for audit in audits:
        events.append(((audit.audited_s, False, audit.id), audit))
        if audit.verified_s is not None and audit.cheap is not None:
            events.append(((max(audit.verified_s, audit.audited_s), True, audit.id), audit))
    vigil = vigil_of(promise)
    for (_, is_label, _), audit in sorted(events, key=itemgetter(0)):
        vigil = vigil.verified(audit) if is_label else vigil.audited(audit)
    return vigil
