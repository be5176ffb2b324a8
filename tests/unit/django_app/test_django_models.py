"""What models create, update and delete is recorded: what has changed, once, and if it stays."""

import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

import hansard
from django_site.shop.models import Business, Customer, Order, Rush, Stamped, Tag, Ticket
from hansard.integrations.django import recording
from hansard.testing import MemoryLog


class RolledBackError(Exception):
    """What a transaction of a test fails with."""


@contextmanager
def rolled_back() -> Iterator[None]:
    """A transaction, or a savepoint, that fails in the end."""
    with suppress(RolledBackError), transaction.atomic():
        yield
        raise RolledBackError


def types(log: MemoryLog) -> list[str]:
    """The types of the events, oldest first."""
    return [event.event_type for event in log.entries]


def changes(log: MemoryLog) -> Any:
    """What the last event says has changed."""
    return log.entries[-1].data["changes"]


# --- create, update, delete ---


def test_what_is_created_is_recorded_with_its_values(log: MemoryLog) -> None:
    order = Order.objects.create(total=Decimal("9.50"), due=date(2026, 1, 31))
    assert types(log) == ["model.created"]
    assert log.entries[0].data == {
        "model": "shop.Order",
        "pk": order.pk,
        "changes": {
            "status": [None, "open"],
            "total": [None, "9.50"],
            "count": [None, 0],
            "due": [None, "2026-01-31"],
        },
    }


def test_an_update_says_only_what_has_changed(log: MemoryLog) -> None:
    order = Order.objects.create()
    order.status, order.count = "paid", 0
    order.save()
    assert types(log) == ["model.created", "model.updated"]
    assert log.entries[1].data == {
        "model": "shop.Order",
        "pk": order.pk,
        "changes": {"status": ["open", "paid"]},
    }


def test_a_deletion_says_what_there_was(log: MemoryLog) -> None:
    order = Order.objects.create(status="paid")
    pk = order.pk
    order.status = "never saved"
    order.delete()
    assert types(log)[-1] == "model.deleted"
    assert log.entries[-1].data["pk"] == pk
    assert changes(log) == {"status": ["paid", None], "total": ["0.00", None], "count": [0, None]}


def test_a_save_that_changes_nothing_is_no_event(log: MemoryLog) -> None:
    order = Order.objects.create(total=Decimal("1.50"), due=date(2026, 1, 31))
    order.total, order.count, order.due = "1.5", "0", "2026-01-31"
    order.save()
    assert types(log) == ["model.created"]


def test_what_others_changed_since_it_was_read_is_not_told_as_a_change(log: MemoryLog) -> None:
    stale = Order.objects.create()
    Order.objects.filter(pk=stale.pk).update(status="paid")
    stale.status, stale.count = "paid", 3
    stale.save()
    assert changes(log) == {"count": [0, 3]}


def test_one_made_by_hand_under_a_key_that_exists_is_an_update(log: MemoryLog) -> None:
    order = Order.objects.create(status="open")
    Order(pk=order.pk, status="paid").save()
    assert changes(log) == {"status": ["open", "paid"]}


def test_only_the_fields_that_are_saved_count(log: MemoryLog) -> None:
    order = Order.objects.create()
    order.status, order.count = "paid", 3
    order.save(update_fields=["count"])
    assert changes(log) == {"count": [0, 3]}


def test_what_is_deferred_is_neither_asked_for_nor_told(log: MemoryLog, tables: None) -> None:
    pk = Order.objects.create(status="paid").pk
    order = Order.objects.only("count").get()
    order.count = 3
    order.save()
    assert changes(log) == {"count": [0, 3]}
    Order.objects.defer("status").get().delete()
    assert log.entries[-1].data["pk"] == pk
    assert "status" not in changes(log)


def test_an_expression_is_told_by_the_value_that_came_of_it(log: MemoryLog) -> None:
    order = Order.objects.create(count=2)
    order.count = F("count") + 5
    order.save()
    assert changes(log) == {"count": [2, 7]}


def test_deletions_that_cascade_are_recorded_each(log: MemoryLog) -> None:
    customer = Customer.objects.create(name="Ada")
    Order.objects.create(customer=customer)
    customer.delete()
    deleted = [event.data["model"] for event in log.entries if event.event_type == "model.deleted"]
    assert sorted(deleted) == ["shop.Customer", "shop.Order"]


def test_models_that_nobody_named_are_left_alone(log: MemoryLog) -> None:
    Tag.objects.create(name="red").delete()
    assert log.entries == []


def test_a_receiver_that_saves_again_makes_two_events_in_their_order(log: MemoryLog) -> None:
    Stamped.objects.create()
    assert types(log) == ["model.created", "model.updated"]
    assert changes(log) == {"stamp": ["none", "stamped"]}


def test_a_save_that_fails_leaves_nothing_that_the_next_would_tell(log: MemoryLog) -> None:
    order = Order.objects.create()
    order.status = None
    with pytest.raises(Exception, match="NOT NULL"):
        order.save()
    Order.objects.filter(pk=order.pk).update(count=3)
    order.status = "paid"
    order.save()
    assert changes(log) == {"status": ["open", "paid"], "count": [3, 0]}


# --- models of every kind ---


def test_a_save_that_fails_leaves_no_old_values_in_a_pickle(log: MemoryLog) -> None:
    customer = Customer.objects.create(name="ada", password="hunter2")
    customer.password, customer.name = "another", None
    with pytest.raises(IntegrityError), transaction.atomic():
        customer.save()
    pickled = pickle.dumps(customer)
    assert b"hunter2" not in pickled
    cached = pickle.loads(pickled)
    cached.name = "bob"
    cached.save()
    assert log.entries[-1].data["changes"]["name"] == ["ada", "bob"]


def test_a_key_of_its_own_is_told_as_text(log: MemoryLog) -> None:
    ticket = Ticket.objects.create(title="It is slow")
    assert log.entries[0].data == {
        "model": "shop.Ticket",
        "pk": str(ticket.key),
        "changes": {"title": [None, "It is slow"]},
    }


def test_a_proxy_is_recorded_as_the_model_whose_rows_it_changes(log: MemoryLog) -> None:
    rush = Rush.objects.create(status="rush")
    rush.delete()
    assert types(log) == ["model.created", "model.deleted"]
    assert {event.data["model"] for event in log.entries} == {"shop.Order"}


def test_a_model_that_inherits_tells_its_parents_fields_too(log: MemoryLog) -> None:
    business = Business.objects.create(name="Acme", vat="1")
    business.name, business.vat = "Acme Ltd", "2"
    business.save()
    assert log.entries[-1].data["model"] == "shop.Business"
    told = changes(log)
    assert (told["name"], told["vat"]) == (["Acme", "Acme Ltd"], ["1", "2"])


def test_files_bytes_and_json_are_told_as_what_they_are(log: MemoryLog, tmp_path: Any) -> None:
    customer = Customer(name="Ada", photo=b"abc", attributes={"vip": True, "tags": [1]})
    customer.document.storage.location = tmp_path  # type: ignore[attr-defined]
    customer.document.save("a.txt", ContentFile(b"text"), save=False)
    customer.save()
    told = changes(log)
    assert told["document"] == [None, customer.document.name]
    assert told["photo"][1].startswith("3 bytes, SHA-256 ba7816bf")
    assert told["attributes"] == [None, {"vip": True, "tags": [1]}]
    customer.attributes["vip"] = False
    customer.save()
    assert changes(log)["attributes"] == [{"vip": True, "tags": [1]}, {"vip": False, "tags": [1]}]
    assert "document" not in changes(log)


def test_long_values_are_cut_and_say_so(site: Any) -> None:
    log = site(value_chars_max=10)
    Customer.objects.create(notes="x" * 2_000_000, attributes={"secret": "x" * 50})
    assert changes(log)["notes"][1] == "x" * 10 + "… (2,000,000 characters)"
    assert changes(log)["attributes"][1] == "… (JSON, 64 characters)"


def test_what_is_secret_by_its_name_is_masked(log: MemoryLog) -> None:
    customer = Customer.objects.create(password="hunter2", attributes={"api_key": "k", "vip": 1})
    assert changes(log)["password"] == "[masked]"
    assert changes(log)["attributes"] == [None, {"api_key": "[masked]", "vip": 1}]
    Customer.objects.filter(pk=customer.pk).update(password="hunter3")
    assert log.entries[-1].data["set"] == {"password": "[masked]"}


# --- choices ---


def test_fields_can_be_left_out(site: Any) -> None:
    log = site(exclude_fields=["shop.Customer.changed_at", "notes"])
    customer = Customer.objects.create(name="Ada")
    customer.notes = "changed"
    customer.save()
    assert types(log) == ["model.created"]
    assert not {"changed_at", "notes"} & set(changes(log))


def test_the_times_that_django_sets_can_be_left_out(site: Any) -> None:
    log = site(auto_now=False)
    Customer.objects.create(name="Ada").save()
    assert types(log) == ["model.created"]
    log = site()
    Customer.objects.get().save()
    assert list(changes(log)) == ["changed_at"]


def test_values_can_be_left_out(site: Any) -> None:
    log = site(values=False)
    order = Order.objects.create()
    order.status = "paid"
    order.save()
    Order.objects.all().delete()
    assert log.entries[1].data == {"model": "shop.Order", "pk": 1, "fields": ["status"]}
    assert "paid" not in json.dumps([event.data for event in log.entries])


def test_fixtures_are_recorded_as_such_or_not_at_all(site: Any, tmp_path: Any) -> None:
    fixture = tmp_path / "orders.json"
    order = {"model": "shop.order", "pk": 5, "fields": {"status": "old", "tags": []}}
    fixture.write_text(json.dumps([order]))
    log = site()
    call_command("loaddata", str(fixture), verbosity=0)
    assert (types(log), log.entries[0].data["raw"]) == (["model.created"], True)
    log = site(fixtures=False)
    call_command("loaddata", str(fixture), verbosity=0)
    assert log.entries == []


def test_it_costs_one_query_by_primary_key_a_save(log: MemoryLog, tables: None) -> None:
    def queries(do: Callable[[], Any]) -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            do()
        return len(captured)

    assert queries(Order.objects.create) == 1
    assert queries(Ticket.objects.create) == 1
    order = Order.objects.get()
    assert queries(order.save) == 2


# --- transactions ---


def test_what_is_rolled_back_is_not_recorded(log: MemoryLog) -> None:
    with rolled_back():
        Order.objects.create()
    assert log.entries == []


def test_of_savepoints_only_what_stays_is_recorded(log: MemoryLog) -> None:
    with transaction.atomic():
        Order.objects.create(status="stays")
        with rolled_back():
            Order.objects.create(status="goes")
        assert log.entries == [], "nothing is known before the commit"
    assert [event.data["changes"]["status"][1] for event in log.entries] == ["stays"]


def test_it_has_the_time_and_the_actor_of_the_change_not_of_the_commit(log: MemoryLog) -> None:
    with transaction.atomic():
        with hansard.bound(actor="user:7", task_id="T1", correlation_id="r-1"):
            Order.objects.create()
        log.record("order.placed", {})
    placed, created = log.entries
    assert created.created_at_ns < placed.created_at_ns
    assert (created.actor, created.task_id) == ("user:7", "T1")
    assert created.data["correlation_id"] == "r-1"
    assert placed.actor is None


def test_an_actor_that_is_asked_for_is_the_one_at_the_change(log: MemoryLog) -> None:
    answers = iter(["user:7", "user:8"])
    with hansard.bound(actor=lambda: next(answers)), transaction.atomic():
        Order.objects.create()
        log.record("order.placed", {})
    assert [(each.event_type, each.actor) for each in log.entries] == [
        ("order.placed", "user:8"),
        ("model.created", "user:7"),
    ]


def test_where_the_application_commits_by_itself_it_is_recorded_at_once(log: MemoryLog) -> None:
    transaction.set_autocommit(False)
    try:
        Order.objects.create()
        assert types(log) == ["model.created"]
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


# --- many to many ---


def test_relations_that_are_added_and_removed_are_recorded(log: MemoryLog) -> None:
    order = Order.objects.create()
    red, green, blue = (Tag.objects.create(name=name) for name in ("red", "green", "blue"))
    order.tags.add(red, green)
    assert log.entries[-1].data["pk"] == order.pk
    assert changes(log) == {"tags": {"added": [red.pk, green.pk]}}
    order.tags.remove(green, blue)
    assert changes(log) == {"tags": {"removed": [green.pk]}}
    order.tags.clear()
    assert changes(log) == {"tags": {"removed": [red.pk]}}
    before = len(log.entries)
    order.tags.clear()
    order.tags.remove(blue)
    order.tags.set([])
    assert len(log.entries) == before, "nothing was removed"


def test_relations_changed_from_the_other_side_are_told_of_the_model_that_has_the_field(
    log: MemoryLog,
) -> None:
    orders = [Order.objects.create(), Order.objects.create()]
    tag = Tag.objects.create(name="red")
    tag.orders.add(*orders)
    assert log.entries[-1].data == {
        "model": "shop.Order",
        "count": 2,
        "pks": [order.pk for order in orders],
        "changes": {"tags": {"added": [tag.pk]}},
    }
    tag.orders.clear()
    assert changes(log) == {"tags": {"removed": [tag.pk]}}


def test_relations_that_are_rolled_back_are_not_recorded(log: MemoryLog) -> None:
    order, tag = Order.objects.create(), Tag.objects.create(name="red")
    before = len(log.entries)
    with rolled_back():
        order.tags.add(tag)
        order.tags.clear()
    assert len(log.entries) == before


# --- querysets ---


def test_an_update_of_many_is_one_entry_with_its_count_and_keys(log: MemoryLog) -> None:
    made = [Customer.objects.create(name=name) for name in ("a", "b", "c")]
    assert Customer.objects.filter(name__in=["a", "b"]).update(notes="same") == 2
    assert log.entries[-1].event_type == "model.updated"
    assert log.entries[-1].data == {
        "model": "shop.Customer",
        "count": 2,
        "pks": [made[0].pk, made[1].pk],
        "set": {"notes": "same"},
    }
    before = len(log.entries)
    Customer.objects.filter(name="nobody").update(notes="same")
    assert len(log.entries) == before


def test_an_update_that_django_refuses_is_refused_in_its_words(log: MemoryLog) -> None:
    with pytest.raises(TypeError, match="Cannot update a query once a slice has been taken"):
        Customer.objects.all()[:1].update(notes="x")
    assert log.entries == []


def test_bulk_creation_and_bulk_update_are_one_entry_each(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hansard.integrations.django.models.PKS_MAX", 2)
    made = Customer.objects.bulk_create([Customer(name=name) for name in "abc"])
    for customer in made:
        customer.notes = customer.name
    Customer.objects.bulk_update(made, ["notes"], batch_size=2)
    created, updated = log.entries
    assert (created.event_type, created.data["count"]) == ("model.created", 3)
    assert created.data["pks"] == [each.pk for each in made[:2]]
    assert (updated.event_type, updated.data["count"]) == ("model.updated", 3)
    assert updated.data["fields"] == ["notes"]


def test_a_querysets_deletion_is_recorded_by_instance(log: MemoryLog) -> None:
    Customer.objects.bulk_create([Customer(name=name) for name in "abc"])
    Customer.objects.all().delete()
    assert types(log) == ["model.created", *3 * ["model.deleted"]]


# --- when the log fails ---


def test_a_fault_of_the_log_does_not_reach_the_application(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no log today")

    monkeypatch.setattr(log, "record", fail)
    monkeypatch.setattr(recording.changes, "changed", fail)
    order = Order.objects.create()
    order.delete()
    Customer.objects.all().update(notes="x")
    assert "was not recorded: no log today" in caplog.text
