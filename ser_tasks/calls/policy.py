"""Whose emotion may be scored: the one place where that is decided.

Inferring the emotion of people at work is banned in the EU (AI Act, Art. 5(1)(f)); people whose emotion is read must
have been told (Art. 50). So an agent is never scored unless a policy says otherwise, and a channel of unknown role
counts as an agent's.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    name: str
    roles: tuple[str, ...]
    """Roles whose emotion is scored. All others get acoustic activity only."""
    notice_required: bool
    """Whether a call that does not say that notice was given is withheld. One that says it was not given always is."""
    meaning: str

    def refusal(self, role: str, notice_given: bool | None) -> str | None:
        """Why a channel's emotion is not scored, as a code in REMEDIES; None where it may be."""
        if notice_given is False:
            return "no_notice"
        if self.notice_required and notice_given is None:
            return "notice_unknown"
        return None if role in self.roles else f"role_{role}"


REMEDIES = {
    "no_notice": "the caller was not told (notice_given is false), and no policy scores such a call",
    "notice_unknown": "nothing says that the caller was told: put notice_given into the sidecar, or choose another --policy (SER_POLICY)",
    "role_agent": "only agents are heard, and no setting allows their emotion at work in the EU (the policy everyone is for research)",
    "role_mixed": "agent and customer share one channel: --policy customers_and_mixed (SER_POLICY) would score it, if no agent is heard",
    "role_unknown": "nobody says who speaks on which channel: put channels into the sidecar, or set SER_CHANNEL_ROLES",
    "role_customer": "a customer is heard, whom this policy does not score: choose another --policy (SER_POLICY)",
}
"""What each code means, and which setting would change it."""

POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("customers_only", ("customer",), False, "Customers on a channel of their own. The default."),
        Policy("customers_with_notice", ("customer",), True, "Customers of calls that say that notice was given."),
        Policy("customers_and_mixed", ("customer", "mixed"), False, "Also mono mixes, in which an agent may be heard."),
        Policy(
            "everyone",
            ("customer", "agent", "mixed", "unknown"),
            False,
            "Every channel. For research with consent and for benchmarks; banned at work in the EU.",
        ),
    )
}


def policy_named(name: str) -> Policy:
    """The policy of this name. Raises ValueError with the names there are."""
    if name not in POLICIES:
        raise ValueError(f"{name!r} is no policy: choose one of {', '.join(POLICIES)}.")
    return POLICIES[name]
