"""Common recurrence rules of RFC 5545 in words."""

import re
from datetime import date, time

from report_pipeline.schedules.calendar import listed

_UNITS = {
    "MINUTELY": "minute",
    "HOURLY": "hour",
    "DAILY": "day",
    "WEEKLY": "week",
    "MONTHLY": "month",
    "YEARLY": "year",
}
_DAYS = {
    "MO": "Monday",
    "TU": "Tuesday",
    "WE": "Wednesday",
    "TH": "Thursday",
    "FR": "Friday",
    "SA": "Saturday",
    "SU": "Sunday",
}
_WEEK = ("MO", "TU", "WE", "TH", "FR")
_PLACES = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", -1: "last", -2: "second to last"}
_ORDINALS = {2: "second", 3: "third", 4: "fourth"}
_SPOKEN = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTHDAY", "BYMONTH", "BYHOUR", "BYMINUTE", "BYSETPOS"}
_SPOKEN |= {"BYSECOND", "WKST"}
_MOST_HOURS = 6


def describe_rrule(text: str, begin: time = time()) -> str:
    """A checked rule in words, such as `on the last Friday of every month at 09:00`; less common ones as they are.

    Args:
        text: the rule.
        begin: the local time of day from which it takes what it leaves open.
    """
    return _spoken(text, begin) or f'rule "{" ".join(text.split())}"'


def _spoken(text: str, begin: time) -> str | None:
    if not re.fullmatch(r"(RRULE:)?[A-Z=;,0-9+-]+", text.strip()):
        # Its beginning, or single instants, count too: that is more than a phrase says.
        return None
    parts = dict(part.split("=", 1) for part in text.strip().removeprefix("RRULE:").split(";") if "=" in part)
    unit = _UNITS.get(parts["FREQ"])
    if unit is None or set(parts) - _SPOKEN or parts.get("BYSECOND", str(begin.second)).lstrip("0"):
        return None
    clock = _clock(parts, begin)
    days = _days(parts, unit)
    if clock is None or days is None:
        return None
    count = ""
    if "COUNT" in parts:
        count = ", once" if parts["COUNT"] == "1" else f", {parts['COUNT']} times"
    until = f", until {_day(parts['UNTIL'])}" if "UNTIL" in parts else ""
    return f"{days}{clock}{count}{until}"


def _clock(parts: dict[str, str], begin: time) -> str | None:
    """When on the day, or in the hour; None where that is not said in a word."""
    minutes = parts.get("BYMINUTE", str(begin.minute))
    if parts["FREQ"] in ("MINUTELY", "HOURLY"):
        if "BYHOUR" in parts or "," in minutes:
            return None
        if parts["FREQ"] == "MINUTELY":
            return None if "BYMINUTE" in parts else ""
        return f" at :{int(minutes):02}"
    if "," in minutes:
        return None
    hours = sorted({int(hour) for hour in parts.get("BYHOUR", str(begin.hour)).split(",")})
    return f" at {listed([f'{hour:02}:{int(minutes):02}' for hour in hours])}" if len(hours) <= _MOST_HOURS else None


def _days(parts: dict[str, str], unit: str) -> str | None:
    interval = int(parts.get("INTERVAL", "1"))
    every = f"every {unit}" if interval == 1 else f"every {interval} {unit}s"
    of_every = f"every {_ORDINALS[interval]} {unit}" if interval in _ORDINALS else every
    days = parts["BYDAY"].split(",") if "BYDAY" in parts else []
    numbers = [int(number) for number in parts["BYMONTHDAY"].split(",")] if "BYMONTHDAY" in parts else []
    if "BYMONTH" in parts or (days and numbers):
        return None
    if "BYSETPOS" in parts:
        place = _PLACES.get(int(parts["BYSETPOS"])) if parts["BYSETPOS"].lstrip("+-").isdigit() else None
        if place is None or unit != "month" or tuple(days) != _WEEK:
            return None
        return f"on the {place} working day of {of_every}"
    if numbers:
        return f"on {listed([_monthday(number) for number in numbers])} of {of_every}" if unit == "month" else None
    if not days:
        return every if unit in ("minute", "hour", "day") else None
    if unit == "week" and all(day in _DAYS for day in days):
        names = "Monday to Friday" if tuple(days) == _WEEK else listed([_DAYS[day] for day in days])
        return f"every {names}" if interval == 1 else f"on {names} of {of_every}"
    if unit == "day" and interval == 1 and all(day in _DAYS for day in days):
        return f"every {'Monday to Friday' if tuple(days) == _WEEK else listed([_DAYS[day] for day in days])}"
    if unit == "month":
        spoken = [_weekday(day) for day in days]
        return f"on {listed([day for day in spoken if day])} of {of_every}" if all(spoken) else None
    return None


def _monthday(number: int) -> str:
    if number > 0:
        return f"day {number}"
    return "the last day" if number == -1 else f"the day {-number - 1} before the last"


def _weekday(day: str) -> str | None:
    place = _PLACES.get(int(day[:-2])) if day[:-2] else None
    return f"the {place} {_DAYS[day[-2:]]}" if place else None


def _day(text: str) -> str:
    day = date(int(text[:4]), int(text[4:6]), int(text[6:8])).isoformat()
    return f"{day} {text[9:11]}:{text[11:13]} UTC" if text.endswith("Z") else day
