"""The functions in dbt: a plugin of dbt-duckdb.

In `profiles.yml`:

    outputs:
      dev:
        type: duckdb
        path: warehouse.duckdb
        plugins:
          - module: sqlllm.dbt
            config: {model: mine, models: {mine: "hf:models/my-model"}, max_calls: 10000}

`config` has any of `sqlllm.Settings`, above those of `sqlllm.toml` and the environment, and
`rewrite` as in `sqlllm.connect`. Paths are relative to the project's folder.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.events.logging import AdapterLogger
from dbt_common.exceptions import DbtRuntimeError

from sqlllm.connection import Connection
from sqlllm.errors import SqlllmError
from sqlllm.installation import install_on, temp_macros
from sqlllm.rewrite import rules
from sqlllm.runtime.progress import Logged, Work
from sqlllm.settings import Settings
from sqlllm.settings_file import from_tables

if TYPE_CHECKING:
    from typing import Self

SOURCE = "the profile's plugin sqlllm.dbt"


class Plugin(BasePlugin):  # type: ignore[misc]  # dbt-duckdb has no types
    """Adds the catalog `ai` to every database that dbt opens, and plans what dbt sends.

    Raises:
        DbtRuntimeError: A setting is unknown or wrong, or the database has a catalog `ai`.
    """

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Read `config` of the profile; dbt-duckdb puts DuckDB's own settings below it."""
        duckdbs = (self.creds and self.creds.settings) or {}
        given = {k: v for k, v in plugin_config.items() if v is not None and k not in duckdbs}
        with as_dbts():
            self.rules = rules(given.pop("rewrite", True))
            values = {"progress": lines(AdapterLogger("sqlllm").info), **from_tables(given, SOURCE)}
            self.settings = Settings.load().merged(values, source=SOURCE)

    def configure_connection(self, conn: Any) -> None:
        """Install the functions in a database that was just opened."""
        with as_dbts():
            self.installation = install_on(conn, self.settings)
        environment = DuckDBConnectionManager.env()
        if self.rules and "initialize_cursor" not in vars(environment):
            # dbt-duckdb shows a plugin each cursor and takes none from it. This method of its
            # environment, which is public, finishes the cursor that a thread of dbt's gets.
            plain = environment.initialize_cursor
            environment.initialize_cursor = lambda creds, cursor, *rest: plain(
                creds, self._planned(cursor), *rest
            )

    def configure_cursor(self, cursor: Any) -> None:
        """The spelling `ai_x(...)`, where no rule replaces it."""
        if "names" not in self.rules:
            temp_macros(cursor)

    def _planned(self, cursor: Any) -> Cursor:
        return Cursor(cursor, self.installation, rewrite=self.rules)


class Cursor(Connection):
    """A planned connection for one of dbt's threads."""

    def execute(self, query: Any, parameters: object = None) -> Self:
        """As `Connection.execute`; Ctrl-C, which dbt hears itself, is an error of the node."""
        try:
            return super().execute(query, parameters)
        except KeyboardInterrupt as error:
            if threading.current_thread() is threading.main_thread():
                raise
            msg = "interrupted; what was answered is kept in the cache"
            raise DbtRuntimeError(msg) from error


@contextmanager
def as_dbts() -> Iterator[None]:
    """Errors as dbt's own, which it shows without a traceback."""
    try:
        yield
    except SqlllmError as error:
        raise DbtRuntimeError(str(error)) from error


def lines(say: Callable[[str], object]) -> Callable[[Work], None]:
    """A line in dbt's log every few seconds, while models are asked."""
    logged = Logged(say)

    def tell(work: Work) -> None:
        with logged.bar(work) as show:
            show()

    return tell
