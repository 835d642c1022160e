// SPDX-License-Identifier: GPL-2.0
/*
 * Is this the kernel that the hooks are made for? Nothing is taken for granted
 * that the kernel says of itself: where each function begins, by ftrace; that
 * there are no copies of it, by kallsyms; that it is called and not inlined, by
 * its callers' code; which files there are in sysfs, by sysfs; what functions take
 * and return, where private structures have their members, and which flags VMAs
 * have, by BTF.
 *
 * That each name is there, and there once, is seen to by the livepatch core.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/err.h>
#include <linux/ftrace.h>
#include <linux/kallsyms.h>
#include <linux/kernfs.h>
#include <linux/kobject.h>
#include <linux/ksm.h>
#include <linux/ksm_provider.h>
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/seq_buf.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/text-patching.h>
#include <linux/unaligned.h>
#include "internal.h"
#include "hooks.h"
#include "ksm_seams.h"
#include "private.h"

/* A function that is redirected: it begins with the call after so many bytes. */
struct redirected {
	const char *name;
	void *address;
	unsigned int before_call;
};

#define REDIRECTED(f, entry, type) { #f, f, (entry) - MCOUNT_INSN_SIZE },

static const struct redirected redirected[] = { SEAMS(REDIRECTED) };

#define PROTOTYPE(f, entry, type) { #f, type },

/* What is redirected, or called and in none of the kernel's public headers. */
static const struct {
	const char *name;
	const char *type;
} functions[] = {
	SEAMS(PROTOTYPE)
	{ "break_ksm", "int(vm_area_struct*,long unsigned int,long unsigned int,bool)" },
	{ "ksm_compatible", "bool(file*,vma_flags_t)" },
	{ "remove_all_stable_nodes", "int(void)" },
	{ "run_store", "ssize_t(kobject*,kobj_attribute*,char*,size_t)" },
	{ "task_early_kill", "task_struct*(task_struct*,int)" },
	{ "add_to_kill_ksm", "void(task_struct*,page*,vm_area_struct*,list_head*,long unsigned int)" },
};

static const struct {
	const char *type;
	const char *name;
	size_t offset;
} members[] = {
	{ "mm_slot", "hash", offsetof(struct mm_slot, hash) },
	{ "mm_slot", "mm_node", offsetof(struct mm_slot, mm_node) },
	{ "mm_slot", "mm", offsetof(struct mm_slot, mm) },
	{ "ksm_mm_slot", "slot", offsetof(struct ksm_mm_slot, slot) },
};

static int look_at_entries(void)
{
	const struct redirected *r;

	for (r = redirected; r < redirected + ARRAY_SIZE(redirected); r++) {
		unsigned long address = (unsigned long)r->address;

		if (ftrace_location(address) != address + r->before_call) {
			pr_err("%s() cannot be redirected, or begins in another way\n",
			       r->name);
			return -ENOEXEC;
		}
	}

	return 0;
}

/* The compiler may have made copies of a function for some of its callers. */
static int is_copy(void *data, const char *name, unsigned long address)
{
	const struct redirected *r;

	for (r = redirected; r < redirected + ARRAY_SIZE(redirected); r++) {
		size_t length = strlen(r->name);

		if (!strncmp(name, r->name, length) && name[length] == '.' &&
		    strcmp(name + length, ".cold")) {
			pr_err("there is a copy of %s(): %s\n", r->name, name);
			return -ENOEXEC;
		}
	}

	return 0;
}

/*
 * Others are called from files other than their own, where nothing is inlined;
 * __ksm_enter() and ksm_disable_merge_any() also from functions that are redirected
 * themselves, or that x86 does not use.
 */
static const struct {
	const char *callee;
	void *address;
	/* The compiler may have made one function of these. */
	const char *callers[2];
} calls[] = {
	{ "do_wp_page", do_wp_page, { "handle_pte_fault", "__handle_mm_fault" } },
	{ "do_wp_page", do_wp_page, { "do_swap_page" } },
};

#define CALL_OPCODE	0xe8
#define JUMP_OPCODE	0xe9
/* A call may go to what stands in front of a function, to count it. */
#define MOST_PADDING	16

static bool calls_function(const u8 *code, unsigned long size, unsigned long callee)
{
	const u8 *at;

	for (at = code; size >= CALL_INSN_SIZE && at <= code + size - CALL_INSN_SIZE; at++) {
		unsigned long to = (unsigned long)at + CALL_INSN_SIZE +
				   get_unaligned((s32 *)(at + 1));

		if ((*at == CALL_OPCODE || *at == JUMP_OPCODE) &&
		    callee - to <= MOST_PADDING)
			return true;
	}

	return false;
}

static int find_calls(void *data, const char *name, unsigned long address)
{
	bool *found = data;
	unsigned long size, offset;
	int call, i;

	for (call = 0; call < ARRAY_SIZE(calls); call++) {
		for (i = 0; i < ARRAY_SIZE(calls->callers); i++) {
			const char *caller = calls[call].callers[i];

			if (!caller || strcmp(name, caller) ||
			    !kallsyms_lookup_size_offset(address, &size, &offset))
				continue;
			found[call] |= calls_function((const u8 *)address, size,
						      (unsigned long)calls[call].address);
		}
	}

	return 0;
}

static int look_at_calls(void)
{
	bool found[ARRAY_SIZE(calls)] = {};
	int call;

	kallsyms_on_each_symbol(find_calls, found);
	for (call = 0; call < ARRAY_SIZE(calls); call++) {
		if (!found[call]) {
			pr_err("%s() is not called by %s(): it may be inlined\n",
			       calls[call].callee, calls[call].callers[0]);
			return -ENOEXEC;
		}
	}

	return 0;
}

static const struct btf_type *plain_type(const struct btf *btf, u32 id)
{
	const struct btf_type *type = btf_type_by_id(btf, id);

	while (type && (BTF_INFO_KIND(type->info) == BTF_KIND_CONST ||
			BTF_INFO_KIND(type->info) == BTF_KIND_VOLATILE))
		type = btf_type_by_id(btf, type->type);
	return type;
}

/* By its name, without const. A pointer has its stars behind. */
static void put_type(struct seq_buf *text, const struct btf *btf, u32 id)
{
	const struct btf_type *type = plain_type(btf, id);
	unsigned int stars = 0;

	while (type && BTF_INFO_KIND(type->info) == BTF_KIND_PTR) {
		type = plain_type(btf, type->type);
		stars++;
	}
	if (!type || BTF_INFO_KIND(type->info) == BTF_KIND_UNKN)
		seq_buf_puts(text, "void");
	else
		seq_buf_puts(text, btf_name_by_offset(btf, type->name_off));
	while (stars--)
		seq_buf_putc(text, '*');
}

static void put_prototype(struct seq_buf *text, const struct btf *btf,
			  const struct btf_type *proto)
{
	const struct btf_param *param = btf_params(proto);
	u32 nr = btf_type_vlen(proto), i;

	put_type(text, btf, proto->type);
	seq_buf_putc(text, '(');
	for (i = 0; i < nr; i++) {
		if (i)
			seq_buf_putc(text, ',');
		put_type(text, btf, param[i].type);
	}
	if (!nr)
		seq_buf_puts(text, "void");
	seq_buf_putc(text, ')');
}

static int look_at_functions(const struct btf *btf)
{
	const struct btf_type *type;
	char room[160];
	struct seq_buf text;
	s32 id;
	int i;

	for (i = 0; i < ARRAY_SIZE(functions); i++) {
		id = btf_find_by_name_kind(btf, functions[i].name, BTF_KIND_FUNC);
		type = id < 0 ? NULL : btf_type_by_id(btf, id);
		type = type ? btf_type_by_id(btf, type->type) : NULL;
		if (!type) {
			pr_err("the kernel says nothing of %s()\n",
			       functions[i].name);
			return -ENOEXEC;
		}

		seq_buf_init(&text, room, sizeof(room));
		put_prototype(&text, btf, type);
		if (strcmp(seq_buf_str(&text), functions[i].type)) {
			pr_err("%s() is %s, not %s\n", functions[i].name,
			       seq_buf_str(&text), functions[i].type);
			return -ENOEXEC;
		}
	}

	return 0;
}

/* In bytes; -ENOENT. */
static int offset_of(const struct btf *btf, const char *name, const char *member)
{
	const struct btf_type *type;
	const struct btf_member *m;
	s32 id;
	u32 i;

	id = btf_find_by_name_kind(btf, name, BTF_KIND_STRUCT);
	if (id < 0)
		return -ENOENT;

	type = btf_type_by_id(btf, id);
	for_each_member(i, type, m) {
		if (!strcmp(btf_name_by_offset(btf, m->name_off), member))
			return __btf_member_bit_offset(type, m) / BITS_PER_BYTE;
	}

	return -ENOENT;
}

static int look_at_structures(const struct btf *btf)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(members); i++) {
		int offset = offset_of(btf, members[i].type, members[i].name);

		if (offset != members[i].offset) {
			pr_err("struct %s has %s at %d, not at %zu\n",
			       members[i].type, members[i].name, offset,
			       members[i].offset);
			return -ENOEXEC;
		}
	}

	return 0;
}

static bool is_enumerator(const struct btf *btf, const struct btf_enum *e, const char *name)
{
	return !strcmp(btf_name_by_offset(btf, e->name_off), name);
}

/* The flag of VMAs that is ours is no other's. */
static int look_at_vma_flags(const struct btf *btf)
{
	const struct btf_type *type;
	const struct btf_enum *e;
	u32 id, i;

	for (id = 1; (type = btf_type_by_id(btf, id)); id++) {
		if (BTF_INFO_KIND(type->info) != BTF_KIND_ENUM)
			continue;
		e = btf_enum(type);
		if (!btf_type_vlen(type) || !is_enumerator(btf, e, "VMA_READ_BIT"))
			continue;
		for (i = 0; i < btf_type_vlen(type); i++) {
			if (e[i].val == VM_MERGE_NONE_BIT) {
				pr_err("VMAs have another flag in bit %d: %s\n", VM_MERGE_NONE_BIT,
				       btf_name_by_offset(btf, e[i].name_off));
				return -ENOEXEC;
			}
		}
		return 0;
	}

	pr_err("the kernel says nothing of the flags of VMAs\n");
	return -ENOEXEC;
}

/* Is it the function that the macros of sysfs.h take by the file's name? */
static bool is_callback(const void *function, const char *name, const char *kind)
{
	char found[KSYM_NAME_LEN], wanted[64];

	snprintf(found, sizeof(found), "%ps", function);
	snprintf(wanted, sizeof(wanted), "%s_%s", name, kind);
	return !strcmp(found, wanted);
}

static int look_at_file(struct kernfs_node *dir, struct attribute *attr)
{
	const struct kobj_attribute *file = container_of(attr, struct kobj_attribute, attr);
	struct kernfs_node *node = kernfs_find_and_get(dir, attr->name);
	bool fits = node && node->priv == attr;

	kernfs_put(node);
	if (fits && is_callback(file->show, attr->name, "show") &&
	    (!file->store || is_callback(file->store, attr->name, "store")))
		return 0;
	pr_err("%s/%s is not the file that we think\n", ksm_attr_group.name, attr->name);
	return -ENOEXEC;
}

/* The files in sysfs are what the attributes say, which are called as we think. */
static int look_at_files(void)
{
	struct attribute **attr = ksm_attr_group.attrs;
	struct kernfs_node *dir;
	int err = 0;

	dir = kernfs_find_and_get(mm_kobj->sd, ksm_attr_group.name);
	if (!dir || get_ktype(mm_kobj)->sysfs_ops != &kobj_sysfs_ops) {
		pr_err("the files of page merging are not where we think\n");
		err = -ENOEXEC;
	}
	while (!err && *attr)
		err = look_at_file(dir, *attr++);
	kernfs_put(dir);
	return err;
}

int look_at_kernel(void)
{
	const struct btf *btf;
	int err;

	err = look_at_entries();
	if (err)
		return err;

	err = kallsyms_on_each_symbol(is_copy, NULL);
	if (err)
		return err;

	err = look_at_calls();
	if (err)
		return err;

	err = look_at_files();
	if (err)
		return err;

	btf = bpf_get_btf_vmlinux();
	if (IS_ERR_OR_NULL(btf)) {
		pr_err("the kernel says nothing of its types (BTF)\n");
		return -ENOEXEC;
	}

	return look_at_functions(btf) ?: look_at_structures(btf) ?: look_at_vma_flags(btf);
}
