"""A ranking as its readers see it, in their language. Pure."""

from typing import Any

from services.gateway.directory.domain import Excluded, Proposal, Ranking, Scene
from services.gateway.directory.reasons import texts
from services.gateway.directory.render import native
from services.kit.errors import Language, catalogue


def shown(ranking: Ranking, scene: Scene, lang: Language) -> dict[str, Any]:
    """The ranking as `ProposalList`."""
    return {
        "proposals": [
            _proposal(number, proposal, scene, lang)
            for number, proposal in enumerate(ranking.proposals, 1)
        ],
        "excluded": [_excluded(one, lang) for one in ranking.excluded],
    }


def _proposal(rank: int, proposal: Proposal, scene: Scene, lang: Language) -> dict[str, Any]:
    return {
        "rank": rank,
        "points": proposal.points,
        "service": native(proposal.entry, scene.now, scene.limits),
        "reasons": [
            {"code": reason.code, "points": reason.points, "text": reason.text(lang)}
            for reason in proposal.reasons
        ],
    }


def _excluded(one: Excluded, lang: Language) -> dict[str, Any]:
    text = (
        texts()[one.rule][lang] if one.code is None else catalogue()[one.code, one.rule].texts[lang]
    )
    entry = one.entry
    return {
        "id": entry.id,
        "org": entry.org,
        "name": entry.name,
        "code": one.rule,
        "text": text,
    }
