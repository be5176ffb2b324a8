"""Models of every kind that matters here: audited by setting, by mixin, by decorator, or not."""

import uuid

from django.db import models
from django.db.models.signals import post_save
from django.dispatch import receiver

from hansard.integrations.django.models import AuditedModel, audited


class Tag(models.Model):
    """Audited by nothing."""

    name = models.CharField(max_length=50)


class Customer(AuditedModel):
    """Audited by its base; it holds what must be masked, and a time that each save changes."""

    name = models.CharField(max_length=50)
    password = models.CharField(max_length=50, default="")
    notes = models.TextField(default="")
    document = models.FileField(upload_to="documents", blank=True)
    photo = models.BinaryField(default=b"")
    attributes = models.JSONField(default=dict)
    changed_at = models.DateTimeField(auto_now=True)


class Business(Customer):
    """A table of its own beside its parent's."""

    vat = models.CharField(max_length=20)


class Order(models.Model):
    """Audited by the settings."""

    customer = models.ForeignKey(Customer, null=True, on_delete=models.CASCADE)
    status = models.CharField(max_length=20, default="open")
    total = models.DecimalField(max_digits=9, decimal_places=2, default=0)
    count = models.IntegerField(default=0)
    due = models.DateField(null=True)
    tags = models.ManyToManyField(Tag, related_name="orders")


class Rush(Order):
    """The same rows under another name."""

    class Meta:
        proxy = True


@audited
class Ticket(models.Model):
    """Audited by the decorator, with a key of its own."""

    key = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=50)


class Stamped(AuditedModel):
    """Saved again by a receiver of its own module, as soon as it is made."""

    stamp = models.CharField(max_length=20, default="none")


@receiver(post_save, sender=Stamped)
def stamp(instance: Stamped, *, created: bool, **_: object) -> None:
    """Saves it again."""
    if created:
        instance.stamp = "stamped"
        instance.save()
