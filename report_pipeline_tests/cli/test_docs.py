"""docs/operations.md names every command and every setting."""

from report_pipeline.cli import cli
from report_pipeline.settings import PACKAGE, Settings

TEXT = (PACKAGE.parent / "docs" / "operations.md").read_text()


def test_every_setting_is_in_the_table_of_settings() -> None:
    table = "\n".join(line for line in TEXT.split("## Settings")[1].split("## State")[0].splitlines() if "|" in line)
    assert [name for name in Settings.model_fields if f"`{name.upper()}`" not in table] == []


def test_every_command_is_in_the_table_of_commands() -> None:
    table = TEXT.split("## Commands")[1].split("## Settings")[0]
    shown = [name for name, command in cli.commands.items() if not command.hidden]
    assert [name for name in shown if f"| `{name}" not in table] == []
