# SPDX-License-Identifier: GPL-2.0
"""What must hold about the process's pages, from what it reports of them."""

from failed import Failed


def check(holds, why):
    if not holds:
        raise Failed(why)


def merged_as_known(process):
    """The pages with duplicates are merged, all of them, and no others."""
    roles = process.ask("map")
    for role, page in (("copy", "ksm"), ("zero", "zero")):
        on, pages = roles[role][page], roles[role]["pages"]
        check(on == pages, f"{on} of {pages} '{role}' pages are merged: {roles}")
    for role in ("unique", "volatile"):
        count = roles[role]
        check(count["ksm"] == count["zero"] == 0, f"a '{role}' page is merged: {roles}")
    counted = process.merging_pages(), process.zero_pages()
    wanted = roles["copy"]["pages"], roles["zero"]["pages"]
    check(counted == wanted, f"/proc counts {counted} merged and zero pages, not {wanted}")
    return wanted


def writers_get_copies(process):
    """Each write to a merged page moved that one page, and only that."""
    zeros = process.zero_pages()
    result = process.ask("write")
    for role, writes in result.items():
        for write in writes:
            before, after = write["before"], write["after"]
            shared = before["ksm"] if role == "copy" else before["zero"]
            check(shared, f"the page was not merged before the write: {write}")
            check(write["others_together"], f"the others were on another page: {write}")
            check(after["pfn"] != before["pfn"], f"the write went to the shared page: {write}")
            check(not after["ksm"] and not after["zero"], f"the copy is not its own: {write}")
            check(write["others_stay"], f"the write moved others: {write}")
            check(write["right"] and write["others_right"], f"wrong content: {write}")
    check(any(write["others"] == 0 for write in result["copy"]), "no sole mapping was tried")
    fell = zeros - process.zero_pages()
    wanted = len(result["zero"])
    check(fell == wanted, f"{wanted} zero pages were written to, the count fell by {fell}")
    return len(result["copy"]), len(result["zero"])


def nothing_merged(process):
    roles = process.ask("map")
    for role, count in roles.items():
        check(count["ksm"] == count["zero"] == 0, f"a '{role}' page is still merged: {roles}")
    counted = process.merging_pages(), process.zero_pages()
    check(counted == (0, 0), f"/proc still counts {counted} merged and zero pages")
