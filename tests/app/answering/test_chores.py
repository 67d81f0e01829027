"""Prompts about a conversation are told from questions by their form, in the forms that front ends really send."""

import json

import pytest

from app.answering.chores import chore

HISTORY = "<chat_history>\nUSER: 年假有几天？\nASSISTANT: 二十五天 [1]。\nUSER: Und wer genehmigt ihn?\n</chat_history>"
TITLE = f"""### Task:
Generate a concise, 3-5 word title with an emoji summarizing the chat history.
### Guidelines:
- Keep it clear and simple.
### Output:
JSON format: {{ "title": "your concise title here" }}
### Chat History:
{HISTORY}"""
TAGS = f"""### Task:
Generate 1-3 broad tags categorizing the main themes of the chat history.
### Output:
JSON format: {{ "tags": ["tag1", "tag2"] }}
### Chat History:
{HISTORY}"""
FOLLOW_UPS = f"""### Task:
Suggest 3-5 relevant follow-up questions that the user might naturally ask next.
### Output:
JSON format: {{ "follow_ups": ["Question 1?"] }}
### Chat History:
{HISTORY}"""
QUERIES = f"""### Task:
Analyze the chat history to determine the necessity of generating search queries, in the given language.
### Output:
{{ "queries": ["query1"] }}
### Chat History:
{HISTORY}"""
COMPLETION = f"""### Task:
You are an autocompletion system. Continue the text in `<text>`.
### Output: {{ "text": "<your_completion>" }}
### Context:
{HISTORY}
<text>How many</text>"""
PICTURE = f"""### Task:
Generate a detailed prompt for an image.
### Output:
{{ "prompt": "A castle" }}
### Chat History:
{HISTORY}"""
PORTUGUESE = TITLE.replace("### Task:\nGenerate a concise, 3-5 word title", "### Tarefa:\nGerar um título conciso")
LIBRE = """Provide a concise, 5-word-or-less title for the conversation, using title case conventions.
Only return the title.

Conversation:
User: How many days of leave?
AI: Twenty-five [1]."""
LIBRE_OLD = """Please generate a concise title for the conversation, with no punctuation.

||>User:
"How many days of leave?"
||>Response:
"Twenty-five."

||>Title:"""
LOBE = [
    ("system", "你是一名擅长会话的助理，你需要将用户的会话总结为 10 个字以内的标题"),
    ("user", "user: 年假有几天？\nassistant: 二十五天"),
]
CHORES = {
    "title": [("user", TITLE)], "tags": [("user", TAGS)], "follow-ups": [("user", FOLLOW_UPS)],
    "queries": [("user", QUERIES)], "completion": [("user", COMPLETION)], "picture": [("user", PICTURE)],
    "portuguese": [("user", PORTUGUESE)], "librechat": [("user", LIBRE)], "librechat-old": [("system", LIBRE_OLD)],
    "lobechat": LOBE, "with-a-system-message": [("system", "Today is 2026-05-16."), ("user", TITLE)],
}  # fmt: skip


@pytest.mark.parametrize("messages", CHORES.values(), ids=CHORES)
def test_a_prompt_about_a_conversation_is_told(messages: list[tuple[str, str]]) -> None:
    found = chore(messages)
    assert found is not None
    assert found.messages == tuple(messages)


QUESTIONS = {
    "plain": [("user", "What title does the handbook give to the chat policy?")],
    "title": [("user", "Generate a title for our holiday policy.")],
    "tags": [("user", "给出手册里关于对话记录的标签要求")],
    "of-a-chat": [("user", "How are conversations with customers summarized, and under which title?")],
    "mail": [("user", "Does the handbook say so?\nUser: may I carry leave over?\nAI: yes, five days.")],
    "asked-of-a-chat": [("user", "Who writes the title of a chat conversation?\nUser: x\nAssistant: y")],
    "of-documents": [
        ("user", "Generate tags for this conversation from the documents.\nUser: leave?\nAssistant: 25 days")
    ],
    "instructed": [
        ("system", "When a chat begins, generate a title for the conversation."), ("user", "How long is leave?")
    ],
    "conversation": [
        ("user", LIBRE), ("assistant", "Leave"), ("user", "And in Rotterdam?"),
    ],
    "heading": [("user", "### Task:\nList the days of leave.")],
    "rag-template": [
        ("user", "### Task:\nRespond to the user query using the provided context.\n<context>\nx\n</context>\n"
                 "<user_query>\nHow long is leave?\n</user_query>"),
    ],
    "empty": [("user", "### Task:\nGenerate a title.\n<chat_history>\n</chat_history>")],
    "list": [("user", "User: admin\nModel: LT-300\nWhich firmware does it need?")],
}  # fmt: skip


@pytest.mark.parametrize("messages", QUESTIONS.values(), ids=QUESTIONS)
def test_a_question_about_documents_is_none(messages: list[tuple[str, str]]) -> None:
    assert chore(messages) is None


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([("user", TITLE)], {"title": "年假有几天？"}), ([("user", TAGS)], {"tags": []}),
        ([("user", FOLLOW_UPS)], {"follow_ups": []}), ([("user", QUERIES)], {"queries": ["Und wer genehmigt ihn?"]}),
        ([("user", COMPLETION)], {"text": ""}),
    ],
)  # fmt: skip
def test_without_a_model_the_form_is_kept(messages: list[tuple[str, str]], said: dict[str, object]) -> None:
    found = chore(messages)
    assert found is not None
    assert json.loads(found.plainly() or "") == said


def test_without_a_model_a_plain_title_is_the_first_question_cut() -> None:
    for messages in ([("user", LIBRE)], [("system", LIBRE_OLD)]):
        found = chore(messages)
        assert found is not None
        assert found.plainly() == "How many days of leave?"
    long = chore([("user", LIBRE.replace("How many", "In which of all the offices are how many"))])
    assert long is not None
    assert long.plainly() == "In which of all the offices are how many…"


def test_without_a_model_what_only_a_model_writes_is_not_made_up() -> None:
    found = chore([("user", PICTURE)])
    assert found is not None
    assert found.plainly() is None
