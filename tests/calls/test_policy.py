import itertools

import pytest

from ser_tasks.calls.policy import POLICIES, REMEDIES, policy_named
from ser_tasks.schemas import ROLES


def test_by_default_only_customers_are_scored():
    policy = policy_named("customers_only")
    assert [role for role in ROLES if policy.refusal(role, None) is None] == ["customer"]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_every_refusal_says_which_setting_would_change_it(policy):
    for role, notice in itertools.product(ROLES, (None, True, False)):
        code = policy.refusal(role, notice)
        assert code is None or REMEDIES[code]
        assert code is not None or role in policy.roles


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_caller_who_was_not_told_is_never_scored(policy):
    assert all(policy.refusal(role, False) == "no_notice" for role in ROLES)


def test_one_policy_requires_notice():
    policy = policy_named("customers_with_notice")
    assert policy.refusal("customer", None) == "notice_unknown"
    assert policy.refusal("customer", True) is None


def test_an_unknown_policy_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="'nobody' is not a policy: choose one of customers_only"):
        policy_named("nobody")
