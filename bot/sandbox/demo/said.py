"""What the bot says, as far as the story waits for it or counts it: its own messages, word for word."""

import re
from typing import Final

from bot.sandbox.demo.phrases import Phrase
from handlers import contests

# Meeting somebody.
SHORT: Final = Phrase(
    "Hello! I find the people you followed on X again, on Bluesky and Mastodon. By DM: 1. claim your old handle, "
    "2. import your list, 3. connect. To begin, send me: start"
)
SENT_BY_DM: Final = Phrase("I have answered you by direct message.")
DM_CLOSED: Final = Phrase(
    "I could not send you a direct message. Follow me, or allow messages from everyone (Chat, then Settings), then send "
    "me: start"
)
HELLO: Final = Phrase("Hello! I am a bot that finds the people you followed on X again, in three steps:")
HELLO_AGAIN: Final = Phrase("Hello again!")
GUIDE: Final = Phrase("Five minutes, spread over a day or two, because X takes its time to make an archive:")
UNKNOWN_NEAREST: Final = Phrase('I did not understand "{words}". Did you mean {command}? help lists all I can do.')
UNKNOWN: Final = Phrase('I did not understand "{words}". help lists all I can do; start shows the next step.')
USAGE: Final = Phrase("Write it like this: {usage}")

# Proving who one was.
POST_THIS: Final = Phrase("To prove that {x} was you, post this on X. It is your goodbye at the same time:")
PROVED: Final = Phrase("Proved: {x} was you.")
NOT_THE_AUTHOR: Final = Phrase(
    "That post was written by {author}, but you claimed {x}. Post it as {x}, or send me: claim {handle}"
)
FROZEN: Final = Phrase(contests.FROZEN_PROVED)
FREE: Final = Phrase(contests.FREE)
CODE: Final = re.compile(r"\bRF-[0-9A-Z]{4}-[0-9A-Z]{4}\b")

# Two accounts, one person.
LINK_CODE: Final = re.compile(r"\blink (LK-[0-9A-Z]{4}-[0-9A-Z]{4})\b")
SEND_FROM_OTHER: Final = Phrase(
    "Send me this from your other account, by DM, before {moment}. It makes the two one person, for good, so give it to "
    "nobody else, and send nobody else's:"
)
JOINED: Final = Phrase("Joined. These accounts are one person to me now:")

# Consent and follows.
GRANTED: Final = Phrase("Thank you: from now on I may follow for you as {account}.")
GRANT_LOST: Final = Phrase("{network} no longer lets me follow as {account}: your consent there has ended.")
SHALL_I: Final = Phrase("Shall I? Answer yes or no.")
SHALL_I_LATER: Final = Phrase("Shall I, as soon as I have it? Answer yes or no.")
NOTHING_TO_FOLLOW: Final = Phrase(
    "{n} of them is followed already, or will be.", "{n} of them are followed already, or will be."
)
NOBODY_YET: Final = Phrase(
    "I hold {n} account that you followed on X; it is not here yet. I tell you when that changes.",
    "I hold {n} accounts that you followed on X; none of them is here yet. I tell you when that changes.",
)
HERE_WE_GO: Final = Phrase("Here we go: I follow {n} account for you.", "Here we go: I follow {n} accounts for you.")
I_WOULD: Final = Phrase(
    "I would follow {n} account for you on {network}: {names}.",
    "I would follow {n} accounts for you on {network}, mutuals first: {names}.",
)
KEPT_IN_MIND: Final = Phrase(
    "I have noted {n} person: I follow them as soon as I have your consent.",
    "I have noted these {n}: I follow them as soon as I have your consent.",
)
FOLLOWED: Final = Phrase("Done: I followed {n} account for you.", "Done: I followed {n} accounts for you.")
REQUESTED: Final = Phrase(
    "{n} account has yet to agree to be followed.", "{n} accounts have yet to agree to be followed."
)
REFUSED: Final = Phrase("{n} could not be followed:", "{n} could not be followed:")
AUTO_ON: Final = Phrase(
    "auto is on now: I follow proved newcomers at once, and tell you. undo takes the last ones back."
)
UNDO_ASKED: Final = Phrase("Whom you followed before you keep following. Shall I? Answer yes or no.")
UNDOING: Final = Phrase("I am unfollowing {n} account.", "I am unfollowing {n} accounts.")
UNDONE: Final = Phrase("Undone: {n} follow is taken back.", "Undone: {n} follows are taken back.")

# Contacts.
CONTACTS: Final = Phrase("{n} person you followed on X is here:", "{n} people you followed on X are here:")
LEFT_OUT: Final = Phrase("Left out: {names}. restore brings them back.")
WHY_HERE: Final = Phrase("They have proved that the account on X was theirs.")

# Oneself.
STATUS: Final = Phrase("Your accounts:")
STOPPED: Final = Phrase("I fall silent: no notices, no follows. resume ends it; forget me removes all I know of you.")
EXPORT: Final = Phrase(
    "This page shows everything I hold about you, and gives it out as a file. The link is for you alone, works once and "
    "expires in {time}:\n"
    "{link}"
)
FORGET_ASKED: Final = Phrase(
    "Shall I remove everything I hold about {accounts}: claims, lists, consents, decisions? Nobody will hear of you "
    "through me any more, and it cannot be undone. Whom you follow already you keep following."
)
FORGOTTEN: Final = Phrase(
    "Done. I no longer know you: everything is removed, and off my disk within {time}. The consents you gave me are "
    "being ended. If you write to me again, we begin anew. Farewell!"
)

# Lists, and who of them is here.
ALREADY_HERE: Final = Phrase(
    "{n} of the {total} people you followed is already here:",
    "{n} of the {total} people you followed are already here:",
)
NOBODY_HERE: Final = Phrase(
    "The {n} account you followed is not here yet. I tell you when it arrives.",
    "None of the {n} accounts you followed is here yet. I tell you by name as they arrive.",
)
ARRIVED: Final = Phrase("{n} person you followed on X has arrived:", "{n} people you followed on X have arrived:")
CONNECT_HERE: Final = Phrase(
    "Open this page to let me follow on your behalf. You consent on your own server, and can take it back at any time "
    "(send: disconnect). The link is for you alone, works once and expires in {time}:\n{link}"
)
IMPORT_LINK: Final = re.compile(r"http://\S+/import/[\w-]+")
CONNECT_LINK: Final = re.compile(r"http://\S+/connect/[\w-]+")
EXPORT_LINK: Final = re.compile(r"http://\S+/export/[\w-]+")
FRESH_POST: Final = Phrase("Here is a fresh post for {x}: from now on only the code in it counts. Post this on X:")
