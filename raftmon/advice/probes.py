"""What a trainer's probes ask of the next rate: rho, the gain of a step over the predicted one, or else the KL."""

from __future__ import annotations

import math
from typing import Final

from raftmon.advice.intent import Plan, Seen
from raftmon.advice.learning_rate import FAR_CHANGE, USUAL_CHANGE, weaker

__all__ = ["heed_probes"]

TARGET_RHO: Final = 0.9
"""Gain of a step over the predicted one at the best learning rate: median of the study's sweep 0.91, RAFT 0.85."""
LEAST_RHO: Final = 0.5
"""Below, rho saturates and 1 - rho says too little: lower threefold more."""
NOISE: Final = 0.05
"""By so much rho may lie above 1 by chance. Above that a step gained far more than its gradient had promised: the rate
is low, but by how much nobody can say."""
RHO_RANGE: Final = (0.1, 10.0)
TARGET_KL: Final = 0.02
"""Nats per token that a cycle at the best learning rate moved the model by."""
KL_RANGE: Final = (0.5, 3.16)
DEAD_ZONE: Final = 1.5
"""A probe that asks for less than this factor asks for nothing: half a decade is what a sweep resolves."""


def heed_probes(plan: Plan, seen: Seen) -> bool:
    """Steps 4 and 5: ask rho, or else the KL; without either say what would tell.

    Returns:
        Whether there is a probe.
    """
    rho, kl = seen.readings.get("campaign.rho"), seen.readings.get("campaign.kl")
    by_rho = _by_rho(rho, seen.readings.get("campaign.rho_curvature"), plan.current)
    by_kl = _by_kl(kl)
    if by_rho is not None:
        too_far = by_kl is not None and by_kl[0] < 1.0 / DEAD_ZONE
        _heed_probe(plan, seen, "probe:rho", *by_rho, against=f"KL {kl:.3g}" if too_far else None)
    elif by_kl is not None:
        _heed_probe(plan, seen, "probe:kl", *by_kl)
    elif any(finding.points_to == "lr_too_low" for finding in seen.firing):
        plan.remarks.append(
            "Insufficient evidence for a learning rate that is too low: without rho or the KL logged, one cycle at "
            "twice the rate from the best checkpoint would tell, given up if the held-out rate falls."
        )
    return by_rho is not None or by_kl is not None


def _heed_probe(plan: Plan, seen: Seen, probe: str, factor: float, why: str, against: str | None = None) -> None:
    """Change the rate by what a probe asks for.

    Args:
        plan: the advice on its way.
        seen: what the campaign shows.
        probe: which one.
        factor: that it asks for.
        why: the arithmetic in words.
        against: another probe that speaks against raising.
    """
    against, evidence = seen.against or against, (probe, seen.trained)
    if evidence in seen.intent.acted:
        if evidence in seen.intent.again:
            plan.reach = FAR_CHANGE
        plan.note(probe, f"{why}: heeded already")
        return
    if 1.0 / DEAD_ZONE < factor < DEAD_ZONE:
        plan.acted.append(evidence)
        plan.note(probe, f"{why}, within ×{DEAD_ZONE:g}: no change")
        return
    if not seen.intent.allows_proposals:
        plan.note(probe, f"{why}: --authority test lets it act")
        return
    plan.acted.append(evidence)
    if factor > 1.0 and against is not None:
        plan.note(probe, f"{why}, but {against} speaks against raising: held")
        return
    plan.reach = FAR_CHANGE
    plan.authority = weaker(plan.authority, "propose")
    if factor < 1.0:
        plan.lower(factor, probe, why)
    else:
        plan.raise_by(factor, probe, why)


def _by_rho(rho: float | None, curvature: float | None, rate: float | None) -> tuple[float, str] | None:
    """Return the factor that rho asks for, and the arithmetic; 1 - rho grows as the learning rate.

    Args:
        rho: of the newest cycle.
        curvature: (1 - rho) / learning rate over the newest cycles, where one cycle's rho is not all that is known.
        rate: in force in the newest cycle.
    """
    if rho is None or not math.isfinite(rho):
        return None
    least, most = RHO_RANGE
    short = curvature * rate if curvature is not None and rate is not None and rho >= LEAST_RHO else 1.0 - rho
    told = f"rho {rho:.2f}" if math.isclose(short, 1.0 - rho) else f"rho {rho:.2f}, {1 - short:.2f} with earlier cycles"
    if short < -NOISE:
        return USUAL_CHANGE, f"rho {rho:.2f}, beyond what a small step explains → × {USUAL_CHANGE:g}"
    ratio = (1.0 - TARGET_RHO) / short if short > 0.0 else most
    factor, why = min(max(ratio, least), most), f"{told}: × {1 - TARGET_RHO:.1g}/{short:.2g}"
    if ratio >= most or short <= 0.0:
        why = f"{told}: along a step the loss is a straight line"
    if rho < LEAST_RHO:
        factor, why = factor / 3.0, f"{why} / 3 (rho below {LEAST_RHO:g})"
    return factor, f"{why} → × {factor:.3g}"


def _by_kl(kl: float | None) -> tuple[float, str] | None:
    """Return the factor that the KL of the cycle asks for, and the arithmetic; the KL grows as the rate squared."""
    if kl is None or not math.isfinite(kl):
        return None
    least, most = KL_RANGE
    factor = min(max(math.sqrt(TARGET_KL / kl), least), most) if kl > 0.0 else most
    return factor, f"KL {kl:.3g}: × sqrt({TARGET_KL:g}/{kl:.3g}) → × {factor:.3g}"
