"""The explicit list of all commands, in the order in which help shows them.

To add a command, write its handler in the file of its family and name it here.
"""

from typing import Final

from handlers import (
    choices,
    claims,
    consents,
    contacts,
    follows,
    hello,
    imports,
    linking,
    mistakes,
    notices,
    privacy,
    self_service,
    stats,
)
from handlers.routing import Pattern, Router

router: Final = Router(
    handlers=[
        hello.start,
        hello.guide,
        claims.claim,
        claims.unclaim,
        linking.link,
        imports.import_,
        consents.connect,
        consents.disconnect,
        contacts.contacts,
        follows.follow,
        choices.skip,
        choices.restore,
        follows.auto,
        follows.undo,
        choices.why,
        notices.notify,
        notices.quiet,
        self_service.lang,
        notices.discoverable,
        self_service.status,
        stats.stats,
        hello.exit_,
        claims.report,
        privacy.export,
        privacy.forget_me,
        self_service.stop,
        self_service.resume,
        self_service.cancel,
        hello.help_,
    ],
    answers={**claims.ANSWERS, **consents.ANSWERS, **follows.ANSWERS, **privacy.ANSWERS},
    patterns=[Pattern(mistakes.APP_PASSWORD, mistakes.app_password), *claims.PATTERNS, *linking.PATTERNS],
    unknown=hello.unknown,
)
