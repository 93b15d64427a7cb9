"""The dialogues of the demo calls. All of it is fictional, including names and numbers.

A line is (role, mood, gap in seconds before it, text). With a negative gap, a line starts before the previous one has ended.
"""

from dataclasses import dataclass, field

A, C = "agent", "customer"
Line = tuple[str, str, float, str]


@dataclass(frozen=True)
class Call:
    """One call: its metadata, the voices (names of espeak-ng), the file suffix and the lines."""

    call_id: str
    started_at: str
    agent_id: str
    customer_id: str
    queue: str
    suffix: str
    customer_voice: str
    lines: list[Line] = field(repr=False)
    agent_voice: str = "en-gb+f3"
    language: str = "en-GB"
    notice_given: bool = True


CALLS = [
    Call(
        "billing-1001", "2026-11-18T09:04:12+01:00", "maren", "40117", "billing", ".opus", "en-gb+m3",
        [
            (A, "calm", 0.6, "Good morning, billing, Maren speaking. This call is recorded and analysed. How can I help?"),
            (C, "calm", 0.7, "Hello. There are two charges for October on my account, and I only have one contract."),
            (A, "calm", 0.5, "I see. May I have your customer number, please?"),
            (C, "calm", 0.6, "Four zero, one one seven."),
            (A, "calm", 1.8, "Thank you. Yes, the second charge is a duplicate. Our system posted it twice on the third."),
            (C, "tense", 0.5, "So that is sixty two euros that should be in my bank, not in yours."),
            (A, "sorry", 0.4, "You are right, and I am sorry. I have just sent it back. It takes two working days."),
            (C, "pleased", 0.6, "Oh, that was quick. I expected an argument. Thank you very much."),
            (A, "pleased", 0.4, "Gladly. Have a good day."),
            (C, "calm", 0.5, "You too. Bye."),
        ],
    ),
    Call(
        "deliveries-1002", "2026-11-18T10:31:45+01:00", "tomas", "51820", "deliveries", ".mp3", "en-us+f2",
        [
            (A, "calm", 0.5, "Deliveries, this is Tomas. Calls are recorded and analysed for quality. What can I do for you?"),
            (C, "tense", 0.5, "My washing machine was due on Monday. It is Wednesday now and nobody has called me."),
            (A, "calm", 0.6, "Let me look. It says here that the driver could not find anyone at home."),
            (C, "angry", 0.2, "That is simply not true! I took the whole day off and sat next to the door!"),
            (A, "calm", 0.5, "I understand. I can offer you a new date, next Thursday between eight and six."),
            (C, "angry", 0.1, "Next Thursday? Another whole day? Are you joking? I have three children and no clean clothes!"),
            (A, "calm", 0.6, "There is nothing earlier in the system, I am afraid."),
            (C, "furious", 0.1, "Then find somebody who can do more than read from a screen! I want your manager, right now!"),
            (A, "sorry", 0.5, "One moment. I will put you through to my team leader."),
            (C, "furious", 0.2, "Finally! This is unbelievable!"),
        ],
        agent_voice="en-gb+m1", language="en-US",
    ),
    Call(
        "technical-1003", "2026-11-18T13:15:02+01:00", "ines", "60233", "technical", ".ogg", "en-gb-scotland+m7",
        [
            (A, "calm", 0.6, "Technical support, Ines speaking, this call is recorded and analysed. What is the trouble?"),
            (C, "sad", 0.9, "Hello. I think I have lost all the pictures on my phone. Ten years of them."),
            (A, "calm", 0.6, "Oh dear. Did you see a message before they were gone?"),
            (C, "sad", 1.0, "Something about storage. I pressed yes. There are pictures of my late wife among them."),
            (A, "sorry", 0.8, "I am so sorry. Please don't switch the phone off. Deleted pictures stay in a bin for thirty days."),
            (C, "calm", 0.9, "In a bin? Where would I find that?"),
            (A, "calm", 0.5, "Open the gallery, tap on albums, and go right down to the bottom."),
            (C, "pleased", 3.5, "Wait. Yes. Yes, there they are! All of them! Oh, thank you, thank you!"),
            (A, "pleased", 0.4, "Wonderful. Mark all of them, and press restore."),
        ],
    ),
    Call(
        "billing-1004", "2026-11-18T16:48:30+01:00", "maren", "40388", "billing", ".flac", "en-gb+f4",
        [
            (A, "calm", 0.5, "Billing, Maren speaking, recorded and analysed. Good afternoon."),
            (C, "calm", 0.6, "Good afternoon. I would like to pay by direct debit from now on."),
            (A, "calm", 0.5, "Of course. From the same account as before?"),
            (C, "calm", 0.7, "Yes, please."),
            (A, "calm", 1.2, "Then it is done. You will get a letter to sign."),
            (C, "calm", 0.6, "That was all. Thank you. Good bye."),
        ],
    ),
    Call(
        "technical-1005", "2026-11-19T08:22:10+01:00", "jonas", "60417", "technical", ".ogg", "en-gb+m5",
        [
            (A, "calm", 0.6, "Technical support, Jonas here. The call is recorded and analysed. How may I help?"),
            (C, "tense", 0.5, "The internet is down again. This is the fourth time this month."),
            (A, "calm", 0.5, "I will run a test of your line. Please stay with me, it takes about twenty seconds."),
            (C, "calm", 0.4, "Fine. I will hold."),
            (A, "calm", 21.0, "Thank you for waiting. The test shows a fault in the street cabinet."),
            (C, "tense", 0.6, "So it was never my router, as your colleague told me last week?"),
            (A, "sorry", 0.5, "No, it was not. A technician repairs it today before five."),
            (C, "calm", 0.6, "All right. At least now somebody knows what it is. Thanks."),
        ],
        agent_voice="en-gb+m2",
    ),
    Call(
        "deliveries-1006", "2026-11-19T11:05:55+01:00", "tomas", "51977", "deliveries", ".wav", "en-us+m4",
        [
            (A, "calm", 0.5, "Deliveries, Tomas speaking. Recorded and analysed. Hello?"),
            (C, "tense", 0.4, "Your driver threw my parcel over the fence. It says fragile!"),
            (A, "calm", 0.4, "Was anything broken? There is a form on our web site that"),
            (C, "angry", -1.6, "No, listen! No forms! It is in pieces!"),
            (A, "calm", -0.7, "I only need the number that is on the"),
            (C, "furious", -1.1, "I don't have a number, I have a box of broken glass!"),
            (A, "sorry", 0.7, "I am sorry. I will order a new one for you now, no form."),
            (C, "calm", 0.9, "Well. Good. Thank you."),
        ],
        agent_voice="en-gb+m1", language="en-US",
    ),
    Call(
        "billing-1007", "2026-11-19T14:40:00+01:00", "petra", "40702", "billing", ".mp3", "de+m3",
        [
            (A, "calm", 0.6, "Guten Tag, Rechnungsstelle, Petra am Apparat. Das Gespräch wird aufgezeichnet und ausgewertet."),
            (C, "calm", 0.6, "Guten Tag. Ich habe eine Mahnung bekommen, aber ich habe längst bezahlt."),
            (A, "calm", 0.5, "Wann war das ungefähr?"),
            (C, "tense", 0.5, "Am zweiten November. Den Beleg habe ich Ihnen schon zweimal geschickt!"),
            (A, "calm", 1.5, "Hier sehe ich ihn. Er wurde einem anderen Konto zugeordnet."),
            (C, "angry", 0.2, "Das darf doch nicht wahr sein! Und ich soll dafür auch noch Gebühren zahlen?"),
            (A, "sorry", 0.5, "Nein, natürlich nicht. Ich buche es um und lösche die Gebühr. Es tut mir leid."),
            (C, "calm", 0.7, "Na gut. Dann ist es ja erledigt. Danke. Auf Wiederhören."),
        ],
        agent_voice="de+f2", language="de-DE",
    ),
    Call(
        "technical-1008", "2026-11-19T18:20:37+01:00", "ines", "60555", "technical", ".ogg", "en-gb+f5",
        [
            (A, "calm", 0.6, "Technical support, Ines speaking, this call is recorded and analysed. Hello?"),
            (A, "calm", 3.0, "Hello, can you hear me? I can't hear anything on your side."),
            (A, "calm", 4.0, "If you can hear me, please press any key on your phone."),
            (A, "calm", 5.0, "There may be something wrong with the line. I will call you back on the number that we have."),
            (A, "calm", 4.0, "I am hanging up now. We will speak again in a minute. Good bye."),
        ],
    ),
    Call(
        "deliveries-1009", "2026-11-20T08:55:18+01:00", "lena", "52044", "deliveries", ".m4a", "en-gb+m6",
        [
            (A, "calm", 0.5, "Good morning, deliveries, Lena speaking. How can I help you?"),
            (C, "calm", 0.6, "Morning. I won't be at home today. Could the parcel go to my neighbour?"),
            (A, "calm", 0.5, "Certainly. Which house number is it?"),
            (C, "calm", 0.5, "Number nineteen, Mrs Okafor. She knows about it."),
            (A, "calm", 1.0, "I have told the driver. He will be there between ten and eleven."),
            (C, "pleased", 0.5, "Perfect, that saves my day. Thanks a lot!"),
            (A, "pleased", 0.4, "You are welcome. Bye bye."),
        ],
        agent_voice="en-gb+f1", notice_given=False,
    ),
    Call(
        "technical-1010", "2026-11-20T10:12:49+01:00", "jonas", "60611", "technical", ".ogg", "en-029+f3",
        [
            (A, "calm", 0.6, "Technical support, Jonas here, the call is recorded and analysed. Good morning."),
            (C, "afraid", 0.6, "Hello? Somebody has just called me and said that my bank account was hacked."),
            (A, "calm", 0.5, "Did that person ask you to install anything?"),
            (C, "afraid", 0.6, "Yes, a programme, and now the mouse is moving on its own. What shall I do?"),
            (A, "tense", 0.3, "Pull the network cable out now, please, or switch the router off."),
            (C, "afraid", 2.5, "I have done it. The mouse has stopped. Are they gone? Is my money gone?"),
            (A, "calm", 0.5, "They can't reach you now. Please call your bank from another phone and have the account blocked."),
            (C, "sad", 0.8, "I feel so stupid. I should have known."),
            (A, "sorry", 0.5, "Please don't. It happens to very careful people, and you reacted fast."),
            (C, "calm", 0.7, "Thank you. I will ring the bank."),
        ],
        agent_voice="en-gb+m2", language="en-029",
    ),
    Call(
        "billing-1011", "2026-11-20T13:37:21+01:00", "petra", "40955", "billing", ".mp3", "en-us+m8",
        [
            (A, "calm", 0.5, "Billing, Petra speaking, calls are recorded and analysed. How can I help?"),
            (C, "calm", 0.6, "I cancelled my contract in July, and you are still taking money every month."),
            (A, "calm", 0.9, "I can't see a cancellation here. Was it in writing?"),
            (C, "tense", 0.4, "Yes. By registered mail. I have the receipt in front of me."),
            (A, "calm", 0.5, "Without the cancellation in the system the contract renews by one year, I'm afraid."),
            (C, "angry", 0.1, "One year? You lost my letter, and I have to pay for it?"),
            (A, "calm", 0.5, "Those are the terms, sir."),
            (C, "furious", 0.1, "Your terms are a disgrace! I will go to my lawyer, and to the newspaper!"),
            (A, "calm", 0.6, "You are free to do so."),
            (C, "furious", 0.1, "Is that all you have to say? This is robbery! Five months! Robbery!"),
        ],
        language="en-US",
    ),
    Call(
        "deliveries-1012", "2026-11-20T17:02:08+01:00", "lena", "52190", "deliveries", ".ogg", "en-gb-x-rp+f2",
        [
            (A, "calm", 0.5, "Deliveries, Lena speaking, this call is recorded and analysed. Good afternoon."),
            (C, "angry", 0.4, "I ordered a cake stand for my daughter's wedding, and you have sent me a car tyre!"),
            (A, "surprised", 0.5, "A car tyre? Oh my goodness."),
            (C, "angry", 0.3, "The wedding is tomorrow! What am I supposed to do with a tyre?"),
            (A, "sorry", 0.5, "I am terribly sorry. There is one in our shop in your town. I can have it brought to you tonight."),
            (C, "surprised", 0.6, "Tonight? Really? You can do that?"),
            (A, "calm", 0.5, "Yes, before eight. And we collect the tyre at the same time."),
            (C, "pleased", 0.6, "Well, that is splendid. I take back half of what I was going to say!"),
            (A, "pleased", 0.4, "Only half? Then congratulations to your daughter, from all of us."),
            (C, "pleased", 0.5, "Thank you, dear. You have saved the day."),
        ],
        agent_voice="en-gb+f1",
    ),
]  # fmt: skip
