"""Policies: whose emotion may be scored. No other module decides it.

The EU bans inferring the emotion of people at work (AI Act, Art. 5(1)(f)), and people whose emotion is recognised must be informed
(Art. 50). By default agents are therefore never scored, and a channel of unknown role is treated as an agent's.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    name: str
    roles: tuple[str, ...]
    """Roles whose emotion is scored. Of all others only acoustic activity is measured."""
    notice_required: bool
    """Whether a call is withheld if it is unknown whether notice was given. A call without notice is always withheld."""
    meaning: str
    splits_mono: bool = False
    """Whether the voices on a mono mix are told apart, to score the customer's."""

    def refusal(self, role: str, notice_given: bool | None, notice_unclear: bool = False, opted_out: bool = False) -> str | None:
        """The code in REMEDIES that says why a channel's emotion is not scored, or None if it may be scored.

        ``notice_unclear``: the metadata holds something that looks like the caller's consent or refusal and could not be read.
        ``opted_out``: the customer is, or was when the call was first handled, on the opt-out list.
        """
        if opted_out:
            return "opted_out"
        if notice_given is False:
            return "no_notice"
        if notice_unclear:
            return "notice_unclear"
        if self.notice_required and notice_given is None:
            return "notice_unknown"
        return None if role in self.roles else f"role_{role}"


REMEDIES = {
    "no_notice": "the caller was not informed (notice_given is false), and no policy scores such a call",
    "notice_unclear": "the metadata hold what looks like the caller's consent or refusal, under a name that is not read (the note "
    "names it): write notice_given, true or false, in its place; or list the name in SER_IGNORED_FACTS if it means something else",
    "opted_out": "the customer is on the opt-out list (SER_OPT_OUT), or was when this call was handled before",
    "notice_unknown": "it is unknown whether the caller was informed: put notice_given into the sidecar, "
    "or choose another --policy (SER_POLICY)",
    "role_agent": "only agents speak, and no setting allows scoring their emotion at work in the EU (the policy everyone is for research)",
    "role_mixed": "agent and customer share one channel: --policy customers_and_mixed (SER_POLICY) scores it; use it if no agent speaks",
    "roles_uncertain": "it is not safe to say whose voice is the customer's on this mono mix",
    "role_unknown": "it is unknown who speaks on which channel: put channels into the sidecar, or set SER_CHANNEL_ROLES",
    "role_customer": "this policy does not score the customers, who speak here: choose another --policy (SER_POLICY)",
}
"""What each code means, and which setting changes it."""

POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("customers_only", ("customer",), False, "Customers on a channel of their own. The default."),
        Policy("customers_with_notice", ("customer",), True, "Customers, in calls with notice_given true."),
        Policy("customers_and_mixed", ("customer", "mixed"), False, "Also mono mixes, in which an agent may speak."),
        Policy(
            "customers_mono",
            ("customer",),
            False,
            "Customers, also on mono mixes, where it is safe to say who speaks: a small part of what is scored may be an agent's.",
            splits_mono=True,
        ),
        Policy(
            "everyone",
            ("customer", "agent", "mixed", "unknown"),
            False,
            "Every channel. For research with consent and for benchmarks; banned at work in the EU.",
        ),
    )
}


def policy_named(name: str) -> Policy:
    """The policy of this name. Raises ValueError, with the known names, for an unknown one."""
    if name not in POLICIES:
        raise ValueError(f"{name!r} is not a policy: choose one of {', '.join(POLICIES)}.")
    return POLICIES[name]
