"""The ledger: never above a budget, never below the bill, whoever dies when."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from killed import SOAK, fork, interruptions, kill_after
from modelyard.answering.money.ledger import Reservation, check_budget, reserve
from modelyard.answering.money.pricing import NANO, to_nano_usd
from modelyard.answering.money.spending import Spending, budgets_now, day_of, read_spending
from modelyard.answering.request import AccountedKey, OverLimit
from modelyard.configs.kinds.integration import Budgets
from modelyard.core.layout import Project
from modelyard.core.state import read_state

DAY = 86_400.0
NOW = 20_000 * DAY + 43_200  # noon of 2024-10-04, UTC
BUDGETS = Budgets(per_day_usd=1, per_month_usd=2, per_organisation_per_day_usd=0.5)


@pytest.fixture
def place(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def reserved(
    place: Project, worst_usd: float | None, now_s: float = NOW, **facts: Any
) -> Reservation:
    wish: dict[str, Any] = {
        "environment": "production",
        "organisation": None,
        "answer_id": "a1",
        "budgets": BUDGETS,
        "max_cost_usd": None,
        "lease_s": 60,
        "clock": lambda: now_s,
    }
    return reserve(place, worst_usd=worst_usd, **(wish | facts))


def spending(
    place: Project, now_s: float = NOW, organisation: str | None = None, which: int = 0
) -> Spending:
    budget = budgets_now(BUDGETS, organisation, now_s)[which]
    return read_spending(
        lambda query, values: read_state(place, query, values), "production", budget, now_s
    )


def dollars(found: Spending) -> tuple[float, float]:
    return found.spent / NANO, found.reserved / NANO


def test_a_reservation_gives_way_to_what_it_did_cost(place: Project) -> None:
    reservation = reserved(place, 0.4)
    assert dollars(spending(place)) == (0, 0.4)
    reservation.settle(0.1)
    assert dollars(spending(place)) == (0.1, 0)
    reservation.settle(0.3)
    assert dollars(spending(place)) == (0.1, 0), "only the first settlement counts"
    reserved(place, 0.2).settle(None)
    assert dollars(spending(place)) == pytest.approx((0.3, 0)), "unknown is all of it"
    reserved(place, 0.2).settle(0.25)
    assert dollars(spending(place)) == pytest.approx((0.55, 0)), "a bill above it counts as it is"


def test_every_budget_refuses_on_its_own(place: Project) -> None:
    reserved(place, 0.5, organisation="acme").settle(0.5)
    with pytest.raises(
        OverLimit, match=r"budget of acme for 2024-10-04, \$0\.50, \$0\.50 is spent"
    ):
        reserved(place, 0.01, organisation="acme")
    reserved(place, 0.5, organisation="other").settle(0.5)
    with pytest.raises(OverLimit, match=r"the budget for 2024-10-04, \$1\.00") as refused:
        reserved(place, 0.01)
    assert refused.value.wait_s == DAY / 2
    assert "wait until 2024-10-05 00:00 UTC" in (refused.value.hint or "")
    reserved(place, 1, now_s=NOW + DAY).settle(1)
    with pytest.raises(OverLimit, match="the budget for 2024-10,"):
        reserved(place, 0.01, now_s=NOW + 2 * DAY)
    reserved(place, 1, now_s=NOW + 30 * DAY).settle(1)
    reserved(place, 0.5, environment="test")


def test_a_request_has_a_limit_of_its_own(place: Project) -> None:
    with pytest.raises(
        OverLimit, match=r"could cost \$0\.30, and a request may cost \$0\.20"
    ) as no:
        reserved(place, 0.3, max_cost_usd=0.2, within_s=10)
    assert no.value.wait_s is None
    with pytest.raises(OverLimit, match="could cost") as more_than_a_day:
        reserved(place, 1.5)
    assert more_than_a_day.value.wait_s is None


def test_an_unknown_price_is_refused_where_a_limit_holds_and_named_where_none_does(
    place: Project,
) -> None:
    with pytest.raises(OverLimit, match="its price is unknown"):
        reserved(place, None)
    with pytest.raises(OverLimit, match="its price is unknown"):
        reserved(place, None, budgets=Budgets(), max_cost_usd=1)
    reserved(place, None, budgets=Budgets()).settle(None)
    reserved(place, None, budgets=Budgets()).settle(0.25)
    reserved(place, None, budgets=Budgets())
    assert spending(place) == Spending(spent=NANO // 4, reserved=0, unknown=1)
    later = NOW + 61
    assert spending(place, later) == Spending(spent=NANO // 4, reserved=0, unknown=2)


def test_what_costs_nothing_leaves_no_trace(place: Project) -> None:
    reserved(place, 0).settle(0)
    assert not place.root.exists()


def test_after_its_lease_a_reservation_is_spent_and_a_late_settlement_still_counts(
    place: Project,
) -> None:
    late, dead = reserved(place, 0.3, organisation="acme"), reserved(place, 0.1)
    assert dollars(spending(place, NOW + 61)) == (0.4, 0)
    assert dollars(spending(place, NOW + 61, "acme", 2)) == (0.3, 0)
    late.settle(0.05)
    assert dollars(spending(place, NOW + 61)) == pytest.approx((0.15, 0))
    reserved(place, 0.1, now_s=NOW + 2 * DAY).settle(0.1)  # tidies up
    assert read_state(place, "SELECT * FROM reservations") == []
    assert dollars(spending(place)) == pytest.approx((0.15, 0))
    dead.settle(0.01)
    assert dollars(spending(place)) == pytest.approx((0.15, 0)), "by then it was taken for dead"


def test_a_cost_counts_for_the_day_on_which_it_was_reserved(place: Project) -> None:
    midnight = NOW + DAY / 2
    reservation = reserved(place, 0.4, now_s=midnight - 1, lease_s=60)
    reservation.settle(0.4)
    assert dollars(spending(place, midnight - 1)) == (0.4, 0)
    assert dollars(spending(place, midnight)) == (0, 0)
    assert dollars(spending(place, midnight, which=1)) == (0.4, 0)


def test_near_the_limit_a_call_waits_for_others_to_settle(place: Project) -> None:
    other = reserved(place, 0.9)
    clock = [NOW]

    def pause(seconds: float) -> bool:
        clock[0] += seconds
        if clock[0] > NOW + 1:
            other.settle(0.2)
        return False

    facts: dict[str, Any] = {"pause": pause, "clock": lambda: clock[0]}
    with pytest.raises(OverLimit) as refused:
        reserved(place, 0.5, within_s=0.5, **facts)
    assert NOW + 0.5 <= 1e-6 + clock[0] < NOW + 1 and refused.value.wait_s == 5
    reserved(place, 0.5, within_s=10, **facts)
    assert NOW + 1 < clock[0] < NOW + 3
    waited_to = clock[0]
    with pytest.raises(OverLimit):
        reserved(place, 0.9, within_s=10, **facts)
    assert clock[0] == waited_to, "no settlement could make room for it"


def test_a_clock_that_is_set_back_makes_no_wait_longer(place: Project) -> None:
    reserved(place, 0.9)
    waits: list[float] = []

    def pause(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) > 1000

    clock = iter([NOW] * 4 + [NOW - 3600.0] * 5000)
    with pytest.raises(OverLimit):
        reserved(place, 0.5, within_s=5, pause=pause, clock=lambda: next(clock))
    assert sum(waits) == pytest.approx(5)


def test_a_wait_that_is_ended_early_is_a_refusal(place: Project) -> None:
    reserved(place, 0.9)
    with pytest.raises(OverLimit):
        reserved(place, 0.5, within_s=10, pause=lambda _: True)
    assert dollars(spending(place)) == (0, 0.9)


def test_a_key_has_a_budget_of_its_own_in_all_environments(place: Project) -> None:
    key, other = AccountedKey(id="k1", per_month_usd=0.3), AccountedKey(id="k2")
    generous = Budgets()
    first = reserved(place, 0.2, key=key, budgets=generous)
    reserved(place, 5, key=other, budgets=generous)  # counts for itself alone
    reserved(place, 5, budgets=generous)
    elsewhere = {"environment": "test", "key": key, "budgets": generous}
    with pytest.raises(OverLimit, match="budget of the API key k1 for 2024-10") as refused:
        reserved(place, 0.2, **elsewhere)
    assert refused.value.wait_s  # others may settle
    first.settle(0.05)
    broken = reserved(place, 0.2, **elsewhere)
    broken.settle(None)  # what it did cost is not known, so all of it
    with pytest.raises(OverLimit) as refused:
        reserved(place, 0.06, key=key, budgets=generous)
    assert refused.value.wait_s == pytest.approx(27.5 * DAY)
    lapsed = {"key": key, "budgets": generous, "lease_s": 1}
    reserved(place, 0.05, **lapsed)
    with pytest.raises(OverLimit):  # its process died: it is spent
        reserved(place, 0.05, NOW + 60, **lapsed)
    reserved(place, 0.3, NOW + 28 * DAY, **lapsed)  # the next month
    with pytest.raises(OverLimit, match="price is unknown"):
        reserved(place, None, **lapsed)


def test_a_check_says_the_same_and_changes_nothing(place: Project) -> None:
    facts: dict[str, Any] = {
        **{"environment": "production", "organisation": "acme", "budgets": BUDGETS},
        **{"max_cost_usd": None, "clock": lambda: NOW},
    }
    assert check_budget(place, worst_usd=0.4, **facts) is None
    assert not place.root.exists()
    reserved(place, 0.4, organisation="acme")
    reason = check_budget(place, worst_usd=0.4, **facts)
    assert reason is not None
    with pytest.raises(OverLimit) as refused:
        reserved(place, 0.4, organisation="acme")
    assert refused.value.message == reason
    assert (
        check_budget(place, worst_usd=None, **facts)
        == "its price is unknown, so no budget could hold"
    )
    assert dollars(spending(place)) == (0, 0.4)


def test_the_ledger_counts_as_a_list_of_all_calls_does(place: Project) -> None:
    """Reservations, settlements, deaths and days at random, against a plain list."""
    chance, now_s = random.Random(11), NOW
    calls: list[dict[str, Any]] = []
    budgets = Budgets(per_day_usd=1, per_month_usd=6, per_organisation_per_day_usd=0.5)
    refused = 0
    for _ in range(250 * SOAK):
        now_s += chance.choice([0, 1, 40, 9000])
        under_way = [call for call in calls if not call["settled"]]
        if under_way and chance.random() < 0.5:
            call = chance.choice(under_way)
            cost = chance.choice([None, 0, 1, call["worst"] // 2])
            call["reservation"].settle(None if cost is None else cost / NANO)
            call["settled"] = True
            if call["spent"] is None:
                call["spent"] = call["worst"] if cost is None else cost
        else:
            for call in under_way:
                if call["lapses_s"] + DAY <= now_s:  # taken for dead, for good
                    call["spent"] = call["worst"]
            worst, org = chance.randint(1, NANO // 3), chance.choice([None, "acme", "other"])
            room = all(
                limit is None or sum(total(calls, key, whose, now_s)) + worst <= limit * NANO
                for limit, key, whose in (
                    (budgets.per_day_usd, day_of(now_s), None),
                    (budgets.per_month_usd, day_of(now_s)[:7], None),
                    (org and budgets.per_organisation_per_day_usd, day_of(now_s), org),
                )
            )
            try:
                reservation = reserved(
                    place, worst / NANO, now_s=now_s, organisation=org, budgets=budgets
                )
            except OverLimit:
                refused += 1
                assert not room
                continue
            assert room
            calls.append(
                {
                    **{"reservation": reservation, "worst": worst, "org": org, "settled": False},
                    **{"day": day_of(now_s), "lapses_s": now_s + 60, "spent": None},
                }
            )
        for which, (key, whose) in enumerate(
            ((day_of(now_s), None), (day_of(now_s)[:7], None), (day_of(now_s), "acme"))
        ):
            found = spending(place, now_s, whose, which)
            assert (found.spent, found.reserved) == total(calls, key, whose, now_s)
    assert refused > 20 and len(calls) > 50


def total(
    calls: list[dict[str, Any]], period: str, organisation: str | None, now_s: float
) -> tuple[int, int]:
    """What the calls spent and have reserved, in nano-dollars."""
    spent, under_way = 0, 0
    for call in calls:
        if not call["day"].startswith(period) or organisation not in (None, call["org"]):
            continue
        if call["spent"] is not None:
            spent += call["spent"]
        elif call["lapses_s"] <= now_s:
            spent += call["worst"]
        else:
            under_way += call["worst"]
    return spent, under_way


PROCESSES, THREADS, CALLS = 8, 6 if SOAK == 1 else 64, 4
COST_USD = 3 / (PROCESSES * THREADS * CALLS)


def test_processes_that_share_a_budget_never_exceed_it_and_use_it(
    place: Project, tmp_path: Path
) -> None:
    """Calls worth $3 in all, each costing 40% of what it could, against $1."""
    budgets = Budgets(per_day_usd=1)
    worst_usd = COST_USD / 0.4

    def work() -> None:
        def ask() -> None:
            for _ in range(CALLS):
                try:
                    reservation = reserved(
                        place,
                        worst_usd,
                        budgets=budgets,
                        within_s=120,
                        clock=time.time,
                    )
                except OverLimit:
                    continue
                time.sleep(chance.uniform(0, 0.01))
                with lock:
                    bill.write(f"{to_nano_usd(COST_USD)}\n")
                reservation.settle(COST_USD)

        chance, lock = random.Random(os.getpid()), threading.Lock()
        with (tmp_path / f"bill-{os.getpid()}").open("w") as bill:
            threads = [threading.Thread(target=ask) for _ in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    began_s = time.time()
    children = [fork(work) for _ in range(PROCESSES)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * PROCESSES
    bill = sum(int(line) for path in tmp_path.glob("bill-*") for line in path.read_text().split())
    found = spending(place, time.time())
    print(
        f"{PROCESSES} x {THREADS} threads: ${bill / NANO:.4f} of $1 spent in "
        f"{time.time() - began_s:.1f} s"
    )
    assert found.reserved == 0
    assert bill == found.spent <= NANO
    assert bill >= (0.95 * NANO if SOAK > 1 else 0.95 * NANO - 2 * worst_usd * NANO)


def test_a_ledger_is_never_below_the_bill_of_processes_that_are_killed(
    place: Project, tmp_path: Path
) -> None:
    """The bill is what the other side counts: it has a call as soon as it gets it."""
    billed = tmp_path / "billed"

    def work() -> None:
        chance = random.Random(os.getpid())
        handle = os.open(billed, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        while True:
            reservation = reserved(place, 1e-3, budgets=Budgets(), clock=time.time)
            cost_usd = chance.uniform(0, 1e-3)
            os.write(handle, f"{to_nano_usd(cost_usd)}\n".encode())
            reservation.settle(cost_usd)

    kills, chance = 20 * SOAK, random.Random(4)
    for _ in range(kills):
        assert kill_after(work, chance.uniform(0.01, 0.06))
        bill = sum(map(int, billed.read_text().split())) if billed.exists() else 0
        found = spending(place, time.time(), which=1)
        assert bill <= found.spent + found.reserved
    calls = len(billed.read_text().split())
    found = spending(place, time.time() + 61, which=1)
    print(
        f"{kills} kills in {calls} calls: ${bill / NANO:.4f} billed, ${found.spent / NANO:.4f} "
        "in the ledger"
    )
    assert calls > kills
    assert bill <= found.spent <= bill + kills * 1_000_000


def test_a_call_cut_off_anywhere_is_in_the_ledger_from_before_it_is_made(
    place: Project, tmp_path: Path
) -> None:
    billed = tmp_path / "billed"
    reserved(place, 1e-6).settle(0)

    def work() -> None:
        from modelyard.core import state

        state._CHANGING.close()
        reservation = reserved(place, 1e-3)
        with billed.open("a") as bill:
            bill.write("400000\n")
        reservation.settle(4e-4)

    for call in interruptions(work, "kill"):
        bill = sum(map(int, billed.read_text().split())) if billed.exists() else 0
        found = spending(place)
        assert bill <= found.spent + found.reserved, call
