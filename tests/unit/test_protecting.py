"""What is read of the cloud to say which instances are protected, and what is not asked in vain."""

from __future__ import annotations

from hass_runtime.decide.protection import KEY, Aggregate, Image, Lists, Rules
from hass_runtime.domain import Choice
from hass_runtime.remedy.nova import CloudError, Server
from hass_runtime.remedy.protecting import Protector


class Cloud:
    """Counts what it is asked."""

    def __init__(self, aggregates=(), images=None, trouble=None):
        self.aggregates, self.images, self.trouble = aggregates, images or {}, trouble
        self.asked: list[str] = []

    def aggregates_of(self, host):
        self.asked.append(f"aggregates of {host}")
        if isinstance(self.aggregates, CloudError):
            raise self.aggregates
        return tuple(self.aggregates)

    def image(self, image_id):
        self.asked.append(f"image {image_id}")
        if self.trouble is not None:
            raise self.trouble
        return self.images[image_id]


def vm(number, **more):
    return Server(f"u{number}", f"vm{number}", "compute1", "active", "", **more)


def test_what_is_decided_without_it_asks_nothing():
    cloud = Cloud()
    choices = {"u1": Choice("u1", False, "", "ann", 1.0)}
    protects = Protector(cloud, "compute1", Rules(heed_images=True), choices)
    assert not protects(vm(1, image="i1")).protected
    assert not protects(vm(2, image="i1", metadata={KEY: "false"})).protected
    assert cloud.asked == []


def test_an_image_is_read_once_and_the_aggregates_once():
    image = Image("i1", ("ci",))
    cloud = Cloud([Aggregate("a")], {"i1": image, "i2": Image("i2")})
    rules = Rules(heed_images=True, image_tags=Lists(leave=("ci",)), aggregates=Lists(leave=("a",)))
    protects = Protector(cloud, "compute1", rules, {})
    assert [protects(vm(n, image="i1")).by for n in (1, 2)] == ["image", "image"]
    assert [protects(vm(n, image="i2")).by for n in (3, 4)] == ["aggregate", "aggregate"]
    assert sorted(cloud.asked) == ["aggregates of compute1", "image i1", "image i2"]


def test_glance_is_not_asked_unless_it_is_to_be_heeded():
    cloud = Cloud(images={"i1": Image("i1", properties={KEY: "false"})})
    assert Protector(cloud, "compute1", Rules(), {})(vm(1, image="i1")).protected
    assert cloud.asked == ["aggregates of compute1"]


def test_a_glance_that_is_away_is_asked_once_and_what_it_would_say_protects():
    cloud = Cloud(trouble=CloudError("read image i1: it does not answer"))
    protects = Protector(cloud, "compute1", Rules(by_default=False, heed_images=True), {})
    for number, image in enumerate(("i1", "i2", "i1")):
        found = protects(vm(number, image=image))
        assert (found.protected, found.by) == (True, "image")
        assert "read image i1: it does not answer" in found.reason
    assert cloud.asked.count("image i1") == 1
    assert "image i2" not in cloud.asked


def test_an_image_that_is_gone_says_nothing_of_glance():
    cloud = Cloud(trouble=CloudError("read image i1: Nova says 404", 404, gone=True))
    protects = Protector(cloud, "compute1", Rules(heed_images=True), {})
    assert protects(vm(1, image="i1")).protected
    protects(vm(2, image="i2"))
    assert "image i2" in cloud.asked


def test_aggregates_that_cannot_be_read_protect():
    cloud = Cloud(CloudError("list the host aggregates: it does not answer"))
    protects = Protector(cloud, "compute1", Rules(by_default=False), {})
    assert protects(vm(1)).protected
    assert protects(vm(2)).protected
    assert cloud.asked == ["aggregates of compute1"]
