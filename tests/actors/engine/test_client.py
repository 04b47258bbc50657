"""Which engine a session's turns go to."""

from collections import Counter

from actors.engine.policy import PolicyClient

SESSIONS = [f"{group}.{member}" for group in range(500) for member in range(8)]


def test_an_engine_that_joins_takes_its_share_and_moves_no_other_session() -> None:
    """A session that moved would find no prefix cache, and a retry would go to another engine than the rest."""
    client = PolicyClient(["a", "b", "c"], turn_s=1.0)
    before = {session: client._of(session) for session in SESSIONS}
    client.join("d")
    client.join("d")
    after = {session: client._of(session) for session in SESSIONS}
    assert all(after[session] in (before[session], "d") for session in SESSIONS)
    shares = Counter(after.values())
    assert set(shares) == set("abcd") and max(shares.values()) < 1.2 * min(shares.values())
