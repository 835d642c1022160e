// SPDX-License-Identifier: GPL-2.0
/*
 * Who merges pages: mm/ksm.c, or a module.
 *
 * This file is included at the end of mm/ksm.c, or in a livepatch that declares
 * what it uses of that file. Everything in it works with mm/ksm.c as it is: that
 * code knows nothing of providers.
 */

#include <linux/kernfs.h>
#include <linux/ptrace.h>
#include <linux/sched/task.h>
#include <linux/seq_buf.h>
#include <linux/sort.h>
#include <linux/srcu.h>
#include <linux/ksm_provider.h>

/* How long to go on without progress */
#define GIVE_UP_AFTER	(10 * HZ)

#ifndef KSM_SEAMS_BY_LIVEPATCH
/* The seams are compiled in: they are complete, and nobody removes them. */
static int seams_close(void)
{
	return 0;
}

static void seams_open(void)
{
}
#endif

/*
 * The hooks are called in all kinds of sleepable context: under mmap_lock, an
 * anon_vma lock or the folio lock, in reclaim, and they may sleep and allocate
 * themselves. So the pointer is read under SRCU, and it must be changed with none
 * of the locks held that a hook may be called under or may take.
 */
DEFINE_STATIC_SRCU(ksm_srcu);
static const struct ksm_ops __rcu *ksm_provider;

/* NULL: mm/ksm.c. The caller is in a read-side critical section of ksm_srcu. */
static const struct ksm_ops *current_provider(void)
{
	return srcu_dereference(ksm_provider, &ksm_srcu);
}

static bool carries_stable_node(const struct folio *folio)
{
	return folio_test_ksm(folio) && folio_raw_mapping(folio);
}

int __ksm_enter(struct mm_struct *mm)
{
	const struct ksm_ops *ops;
	int err;

	guard(srcu)(&ksm_srcu);

	ops = current_provider();
	if (!ops)
		return in_tree___ksm_enter(mm);

	err = ops->enter(mm);
	if (!err)
		mm_flags_set(MMF_VM_MERGEABLE, mm);
	return err;
}

void __ksm_exit(struct mm_struct *mm)
{
	const struct ksm_ops *ops;

	guard(srcu)(&ksm_srcu);

	ops = current_provider();
	if (ops)
		ops->exit(mm);
	else
		in_tree___ksm_exit(mm);
}

int ksm_madvise(struct vm_area_struct *vma, unsigned long start,
		unsigned long end, int advice, vm_flags_t *vm_flags)
{
	const vm_flags_t old_flags = *vm_flags;
	const struct ksm_ops *ops;
	int err;

	guard(srcu)(&ksm_srcu);

	ops = current_provider();
	if (!ops) {
		/* A provider that is gone may have left it set. */
		if (advice == MADV_MERGEABLE)
			*vm_flags &= ~VM_MERGE_NONE;
		return in_tree_ksm_madvise(vma, start, end, advice, vm_flags);
	}

	err = ops->madvise(vma, start, end, advice, vm_flags);
	if (err)
		return err;

	if (!(old_flags & VM_MERGEABLE) && (*vm_flags & VM_MERGEABLE) &&
	    !mm_flags_test(MMF_VM_MERGEABLE, vma->vm_mm)) {
		err = __ksm_enter(vma->vm_mm);
		if (err)
			*vm_flags = old_flags;
	}

	return err;
}

/* A write to "run" that was under way during the take-over may have changed it. */
static void keep_unmerging(void)
{
	unsigned long run = READ_ONCE(ksm_run);

	while (unlikely((run & ~KSM_RUN_OFFLINE) != KSM_RUN_UNMERGE)) {
		if (try_cmpxchg(&ksm_run, &run,
				(run & KSM_RUN_OFFLINE) | KSM_RUN_UNMERGE))
			break;
	}
}

struct folio *ksm_might_need_to_copy(struct folio *folio,
				     struct vm_area_struct *vma,
				     unsigned long addr)
{
	const struct ksm_ops *ops;

	guard(srcu)(&ksm_srcu);

	ops = current_provider();
	if (ops)
		keep_unmerging();
	/*
	 * With ksmd told to unmerge, as it is while there is a provider, the in-tree
	 * code makes a copy.
	 */
	if (ops && carries_stable_node(folio) && ops->swapin_shared(vma, folio))
		return folio;

	return in_tree_ksm_might_need_to_copy(folio, vma, addr);
}

void rmap_walk_ksm(struct folio *folio, struct rmap_walk_control *rwc)
{
	const struct ksm_ops *ops;

	guard(srcu)(&ksm_srcu);

	ops = current_provider();
	if (!ops) {
		in_tree_rmap_walk_ksm(folio, rwc);
		return;
	}

	/* The folio lock keeps the stable node as it is. */
	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);
	if (carries_stable_node(folio))
		ops->rmap_walk(folio, rwc);
}

#ifdef CONFIG_MEMORY_FAILURE
struct ksm_to_kill {
	const struct page *page;
	struct list_head *list;
	int force_early;
};

static bool collect_procs_one(struct folio *folio, struct vm_area_struct *vma,
			      unsigned long addr, void *arg)
{
	struct ksm_to_kill *to_kill = arg;
	struct task_struct *tsk;

	rcu_read_lock();
	for_each_process(tsk) {
		struct task_struct *t = task_early_kill(tsk, to_kill->force_early);

		if (t && t->mm == vma->vm_mm)
			add_to_kill_ksm(t, to_kill->page, vma, to_kill->list,
					addr);
	}
	rcu_read_unlock();

	return true;
}

void collect_procs_ksm(const struct folio *folio, const struct page *page,
		       struct list_head *to_kill, int force_early)
{
	struct ksm_to_kill arg = {
		.page = page,
		.list = to_kill,
		.force_early = force_early,
	};
	struct rmap_walk_control rwc = {
		.rmap_one = collect_procs_one,
		.arg = &arg,
	};
	const struct ksm_ops *ops;

	guard(srcu)(&ksm_srcu);

	ops = current_provider();
	if (!ops)
		in_tree_collect_procs_ksm(folio, page, to_kill, force_early);
	else if (carries_stable_node(folio))
		/* A walk of the reverse map does not change the folio. */
		ops->rmap_walk((struct folio *)folio, &rwc);
}
#endif

#ifdef CONFIG_MIGRATION
void folio_migrate_ksm(struct folio *newfolio, struct folio *folio)
{
	const struct ksm_ops *ops;

	guard(srcu)(&ksm_srcu);

	ops = current_provider();
	if (!ops) {
		in_tree_folio_migrate_ksm(newfolio, folio);
		return;
	}

	if (!carries_stable_node(folio))
		return;

	ops->folio_migrate(newfolio, folio);
	/*
	 * Whoever finds that the old folio has no stable node any more, or is not
	 * in the swap cache, finds the new one in the stable node.
	 */
	smp_wmb();
	WRITE_ONCE(folio->mapping, (void *)FOLIO_MAPPING_KSM);
}
#endif

#ifdef CONFIG_PROC_FS
long ksm_process_profit(struct mm_struct *mm)
{
	const struct ksm_ops *ops;
	long saved;

	guard(srcu)(&ksm_srcu);

	ops = current_provider();
	if (!ops)
		return in_tree_ksm_process_profit(mm);

	saved = mm->ksm_merging_pages + mm_ksm_zero_pages(mm);
	return saved * PAGE_SIZE - ops->records(mm);
}
#endif

/*
 * Merging that nobody asked for.
 *
 * A provider may merge the memory of any process. prctl(PR_SET_MEMORY_MERGE, 0)
 * then says that a process wants none of it, and neither do the copies of it that
 * fork() makes, nor what they execute.
 */

/**
 * ksm_vma_compatible - can anonymous pages of this VMA be merged at all?
 * @vma: the VMA; mmap_lock is held, or the lock of the VMA
 *
 * Return: false if advice to merge is to be ignored for @vma.
 */
bool ksm_vma_compatible(struct vm_area_struct *vma)
{
	/* exec() moves the pages of a temporary stack without unmerging them. */
	return ksm_compatible(vma->vm_file, vma->flags) &&
	       !vma_is_temporary_stack(vma);
}
EXPORT_SYMBOL_FOR_MODULES(ksm_vma_compatible, "rksm");

/**
 * ksm_unmerge_range - give every merged page of a range back as a private copy
 * @vma: the VMA; mmap_lock is held
 * @start: first address
 * @end: end of the range, exclusive
 * @lock_vma: write-lock @vma, which needs mmap_lock held for writing
 *
 * Pages that KSM replaced by the zero page count as merged.
 *
 * Return: 0, -ENOMEM, or -ERESTARTSYS if a signal is pending. Where the process
 * never asked for merging and moves its memory, of signals only SIGKILL counts.
 */
int ksm_unmerge_range(struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, bool lock_vma)
{
	sigset_t all, old;
	int err;

	if ((vma->vm_flags & VM_MERGEABLE) || vma->vm_mm != current->mm)
		return break_ksm(vma, start, end, lock_vma);

	siginitsetinv(&all, sigmask(SIGKILL));
	sigprocmask(SIG_BLOCK, &all, &old);
	err = break_ksm(vma, start, end, lock_vma);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return err;
}
EXPORT_SYMBOL_FOR_MODULES(ksm_unmerge_range, "rksm");

/**
 * ksm_unshare_page - give the owner of one page a copy of its own
 * @vma: the VMA; mmap_lock is held
 * @addr: where the page is mapped
 *
 * As break_ksm() does it, but without waiting for anybody: the page may be gone,
 * and the fault be one on a file whose server does not answer, or one that a
 * userfaultfd is told about.  mmap_lock is not dropped.
 *
 * Return: what handle_mm_fault() says.
 */
vm_fault_t ksm_unshare_page(struct vm_area_struct *vma, unsigned long addr)
{
	unsigned int flags = FAULT_FLAG_UNSHARE | FAULT_FLAG_REMOTE |
			     FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_RETRY_NOWAIT;

	if (current->flags & PF_KTHREAD)
		flags |= FAULT_FLAG_MAY_FAIL;

	return handle_mm_fault(vma, addr, flags, NULL);
}
EXPORT_SYMBOL_FOR_MODULES(ksm_unshare_page, "rksm");

static int unmerge_unasked(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	int err;

	VMA_ITERATOR(vmi, mm, 0);

	for_each_vma(vmi, vma) {
		if ((vma->vm_flags & VM_MERGEABLE) || !vma->anon_vma ||
		    !ksm_vma_compatible(vma))
			continue;
		err = break_ksm(vma, vma->vm_start, vma->vm_end, true);
		if (err)
			return err;
	}

	return 0;
}

int ksm_enable_merge_any(struct mm_struct *mm)
{
	int err;

	guard(srcu)(&ksm_srcu);

	/* The in-tree code enrols what is not enrolled. */
	if (!mm_flags_test(MMF_VM_MERGEABLE, mm)) {
		err = __ksm_enter(mm);
		if (err)
			return err;
	}

	mm_flags_clear(MMF_VM_MERGE_NONE, mm);
	return in_tree_ksm_enable_merge_any(mm);
}

int ksm_disable_merge_any(struct mm_struct *mm)
{
	int err;

	guard(srcu)(&ksm_srcu);

	/* A provider may have merged pages in VMAs without VM_MERGEABLE, too. */
	if (current_provider() && mm_flags_test(MMF_VM_MERGEABLE, mm)) {
		err = unmerge_unasked(mm);
		if (err)
			return err;
	}

	err = in_tree_ksm_disable_merge_any(mm);
	if (!err)
		mm_flags_set(MMF_VM_MERGE_NONE, mm);
	return err;
}

struct merge_any {
	struct work_struct work;
	struct completion done;
	struct mm_struct *mm;
	bool merge;
	/* Whoever waits was killed. */
	bool stopped;
	int err;
};

/* There is no mmap_write_trylock(). */
static bool try_write_lock(struct mm_struct *mm)
{
	if (!down_write_trylock(&mm->mmap_lock))
		return false;
	mm_lock_seqcount_begin(mm);
	return true;
}

/*
 * A worker is a kernel thread: nobody is killed for a copy that it makes where the
 * memory cgroup of the process is full.
 */
static void merge_any_work(struct work_struct *work)
{
	struct merge_any *m = container_of(work, struct merge_any, work);
	unsigned long timeout = jiffies + GIVE_UP_AFTER;

	m->err = 0;
	while (!try_write_lock(m->mm)) {
		if (READ_ONCE(m->stopped) || time_after(jiffies, timeout)) {
			m->err = -EBUSY;
			break;
		}
		schedule_timeout_uninterruptible(1);
	}
	if (!m->err) {
		m->err = m->merge ? ksm_enable_merge_any(m->mm) :
				    ksm_disable_merge_any(m->mm);
		mmap_write_unlock(m->mm);
	}
	complete(&m->done);
}

static int set_merge_any(struct mm_struct *mm, bool merge)
{
	struct merge_any m = { .mm = mm, .merge = merge };
	int err;

	init_completion(&m.done);
	INIT_WORK_ONSTACK(&m.work, merge_any_work);
	queue_work(system_dfl_wq, &m.work);

	err = wait_for_completion_killable(&m.done);
	if (err) {
		WRITE_ONCE(m.stopped, true);
		wait_for_completion(&m.done);
	}
	destroy_work_on_stack(&m.work);

	return err ? -EINTR : m.err;
}

/**
 * ksm_set_merge_any - do to a process what prctl(PR_SET_MEMORY_MERGE) does in it
 * @nr: the number that it has for the caller
 * @merge: merge all its memory, or none of it
 *
 * Whoever may ptrace() the process can read its memory anyway: merging it discloses
 * nothing.
 *
 * Context: May sleep, and waits for mmap_lock of the process.
 * Return: 0; -ESRCH if there is none, or it has no memory any more; -EINVAL for a
 * kernel thread; -EACCES if the caller may not ptrace() it; -EBUSY if its mmap_lock
 * could not be had for 10 seconds; -EINTR if the caller was killed; -ENOMEM.
 */
int ksm_set_merge_any(pid_t nr, bool merge)
{
	struct task_struct *task;
	struct mm_struct *mm;
	bool again;
	int err;

	task = find_get_task_by_vpid(nr);
	if (!task)
		return -ESRCH;

	do {
		mm = task->flags & PF_KTHREAD ? ERR_PTR(-EINVAL) :
				mm_access(task, PTRACE_MODE_ATTACH_FSCREDS);
		if (IS_ERR(mm)) {
			err = PTR_ERR(mm);
			break;
		}
		err = set_merge_any(mm, merge);

		/* exec() may have made another one of it meanwhile. */
		task_lock(task);
		again = !err && task->mm && task->mm != mm;
		task_unlock(task);
		mmput_async(mm);
	} while (again);
	put_task_struct(task);

	return err;
}
EXPORT_SYMBOL_FOR_MODULES(ksm_set_merge_any, "rksm");

/* mm_init() inherits only the flags that it knows. */
static void inherit_merge_none(struct mm_struct *mm, struct mm_struct *oldmm)
{
	if (oldmm && mm_flags_test(MMF_VM_MERGE_NONE, oldmm))
		mm_flags_set(MMF_VM_MERGE_NONE, mm);
	else
		mm_flags_clear(MMF_VM_MERGE_NONE, mm);
}

/*
 * The in-tree code enrols the child of a fork when its page tables are copied, and
 * lets the fork succeed where there is no memory for that. But the child maps the
 * merged pages of its parent: if nobody knew of it, they could not be unmerged.
 * So this goes on until it is enrolled. It takes a few small allocations, which
 * fail when the OOM killer has come to this process: then the caller tears the
 * child down.
 */
static int enrol_child(struct mm_struct *mm)
{
	for (;;) {
		int err;

		mmap_write_lock(mm);
		err = __ksm_enter(mm);
		mmap_write_unlock(mm);
		if (!err)
			return 0;
		if (fatal_signal_pending(current))
			return -EINTR;
		schedule_timeout_killable(1);
	}
}

int dup_mmap(struct mm_struct *mm, struct mm_struct *oldmm)
{
	int err;

	inherit_merge_none(mm, oldmm);
	err = in_tree_dup_mmap(mm, oldmm);
	if (!err && mm_flags_test(MMF_VM_MERGEABLE, oldmm) &&
	    !mm_flags_test(MMF_VM_MERGEABLE, mm))
		err = enrol_child(mm);

	return err;
}

int create_init_stack_vma(struct mm_struct *mm, struct vm_area_struct **vmap,
			  unsigned long *top_mem_p)
{
	inherit_merge_none(mm, current->mm);
	return in_tree_create_init_stack_vma(mm, vmap, top_mem_p);
}

/**
 * ksm_enrol_mm - enrol an mm that has not asked for merging
 * @mm: the mm, whose users the caller has a reference to
 *
 * For the provider, which does not call ksm_mm_forget() meanwhile.  Nothing is
 * done where @mm is enrolled already, or is to be left out.
 *
 * Context: May sleep, but does not wait for mmap_lock.
 * Return: 0; -EAGAIN if mmap_lock is taken; what the enter hook says.
 */
int ksm_enrol_mm(struct mm_struct *mm)
{
	int err = 0;

	if (mm_flags_test(MMF_VM_MERGEABLE, mm) ||
	    mm_flags_test(MMF_VM_MERGE_NONE, mm))
		return 0;

	/* madvise(), prctl() and fork() enrol with mmap_lock held for writing. */
	if (!mmap_read_trylock(mm))
		return -EAGAIN;
	if (!mm_flags_test(MMF_VM_MERGEABLE, mm) &&
	    !mm_flags_test(MMF_VM_MERGE_NONE, mm))
		err = __ksm_enter(mm);
	mmap_read_unlock(mm);

	return err;
}
EXPORT_SYMBOL_FOR_MODULES(ksm_enrol_mm, "rksm");

/**
 * ksm_mm_forget - note that an mm is not enrolled with its provider any more
 * @mm: the mm; mmap_lock is held
 *
 * For a provider that drops @mm because it found no VMA with VM_MERGEABLE in it
 * and has held mmap_lock from before the first VMA.  The mm is enrolled anew as
 * soon as there is such a VMA.
 */
void ksm_mm_forget(struct mm_struct *mm)
{
	mmap_assert_locked(mm);
	mm_flags_clear(MMF_VM_MERGEABLE, mm);
}
EXPORT_SYMBOL_FOR_MODULES(ksm_mm_forget, "rksm");

/*
 * Change of provider.
 *
 * Everything here runs under ksm_provider_mutex, which no hook takes and under
 * which no hook is called by anyone else. The wait for the readers of ksm_srcu
 * happens with no other lock held.
 */
static DEFINE_MUTEX(ksm_provider_mutex);

/*
 * The value of "run" that users see, and that in-tree KSM resumes with, while ksm_run
 * has an internal one
 */
static unsigned long ksm_run_before;

/*
 * A value of ksm_run with which ksmd does not scan, and so releases ksm_thread_mutex.
 * Users cannot write it: any other value that is found later comes from a user, and
 * is not lost.
 */
#define KSM_RUN_PAUSE	8

/* The task that loads the module has a signal pending. */
static bool take_over_stopped;

/* Sleep for a tick during a take-over. @waited sums up the time without progress. */
static int take_over_wait(unsigned long *waited)
{
	unsigned long start = jiffies;

	if (signal_pending(current) || READ_ONCE(take_over_stopped))
		return -EINTR;
	if (*waited > GIVE_UP_AFTER)
		return -EBUSY;

	schedule_timeout_interruptible(1);
	*waited += jiffies - start;
	return 0;
}

/*
 * Take ksm_thread_mutex while no memory is going offline. Its holder, ksmd or another,
 * may wait for the mmap_lock of a process that never releases it. ksmd cannot be
 * interrupted within a batch, but a batch ends with the pass: wait for that as long
 * as it makes progress.
 */
static int take_over_lock(void)
{
	unsigned long scanned = READ_ONCE(ksm_pages_scanned);
	unsigned long waited = 0;
	int err;

	for (;;) {
		/* A hint to ksmd. What counts is written with the mutex held. */
		if (cmpxchg(&ksm_run, KSM_RUN_MERGE, KSM_RUN_PAUSE) == KSM_RUN_MERGE)
			WRITE_ONCE(ksm_run_before, KSM_RUN_MERGE);
		if (mutex_trylock(&ksm_thread_mutex)) {
			if (!(ksm_run & KSM_RUN_OFFLINE))
				return 0;
			mutex_unlock(&ksm_thread_mutex);
		}
		if (READ_ONCE(ksm_pages_scanned) != scanned) {
			scanned = READ_ONCE(ksm_pages_scanned);
			waited = 0;
		}
		err = take_over_wait(&waited);
		if (err)
			return err;
	}
}

static void set_run(unsigned long run)
{
	lockdep_assert_held(&ksm_thread_mutex);
	ksm_run = (ksm_run & KSM_RUN_OFFLINE) | run;
}

/*
 * The files in /sys/kernel/mm/ksm.
 *
 * The files stay in place whoever provides merging, so that open files, bind mounts
 * and rules for paths go on working. Only the callbacks in the attributes of the
 * in-tree code change. During a change of provider a file shows its old value, and
 * cannot be written.
 *
 * A callback may run for minutes, and the change of the hooks must not wait for that:
 * hence an SRCU domain of their own. The callbacks sleep only in its read-side
 * critical sections.
 */
DEFINE_STATIC_SRCU(ksm_files_srcu);

struct ksm_file {
	struct kobj_attribute *attr;
	/* A copy of the original attribute */
	struct kobj_attribute in_tree;
	/* The provider's attribute of the same name, if there is one */
	struct kobj_attribute *theirs;
	/* The provider refused the value that in-tree KSM has. */
	bool refused;
};

/* Filled once. */
static struct ksm_file ksm_files[48];
static unsigned int nr_ksm_files;

/* To whom the files belong, from when a module begins to take over until it is gone */
static enum {
	/* They show what in-tree KSM has, and cannot be written. */
	KSM_FILES_OURS,
	KSM_FILES_THEIRS,
	/* They show what the provider has, and cannot be written. */
	KSM_FILES_LEAVING,
} ksm_files_state;

#define for_each_ksm_file(file) \
	for (file = ksm_files; file < ksm_files + nr_ksm_files; file++)

static struct ksm_file *find_file(const char *name)
{
	struct ksm_file *file;

	for_each_ksm_file(file) {
		if (!strcmp(file->in_tree.attr.name, name))
			return file;
	}
	return NULL;
}

static bool is_run(const struct ksm_file *file)
{
	return !strcmp(file->in_tree.attr.name, "run");
}

/* The caller is inside of ksm_files_srcu. */
static unsigned int files_state(void)
{
	/* Pairs with give_files(): where it is the provider's, "theirs" is set. */
	return smp_load_acquire(&ksm_files_state);
}

static ssize_t ksm_file_show(struct kobject *kobj, struct kobj_attribute *attr,
			     char *buf)
{
	const struct ksm_file *file;

	guard(srcu)(&ksm_files_srcu);

	file = find_file(attr->attr.name);
	if (files_state() != KSM_FILES_OURS && file->theirs)
		return file->theirs->show(kobj, file->theirs, buf);
	if (is_run(file))
		return sysfs_emit(buf, "%lu\n", READ_ONCE(ksm_run_before));
	return file->in_tree.show(kobj, attr, buf);
}

static ssize_t ksm_file_store(struct kobject *kobj, struct kobj_attribute *attr,
			      const char *buf, size_t count)
{
	const struct ksm_file *file;

	guard(srcu)(&ksm_files_srcu);

	file = find_file(attr->attr.name);
	if (files_state() != KSM_FILES_THEIRS || !file->theirs ||
	    !file->theirs->store)
		return -EBUSY;
	return file->theirs->store(kobj, file->theirs, buf, count);
}

/* Redirect the files: no new write reaches the in-tree code. */
static int close_files(void)
{
	struct attribute **attr = ksm_attr_group.attrs;
	struct ksm_file *file;

	if (!nr_ksm_files) {
		for (file = ksm_files; *attr; attr++, file++) {
			if (WARN_ON_ONCE(file == ksm_files + ARRAY_SIZE(ksm_files)))
				return -ENOSPC;
			file->attr = container_of(*attr, struct kobj_attribute, attr);
			file->in_tree = *file->attr;
		}
		nr_ksm_files = file - ksm_files;
	}

	/* Pairs with srcu_read_lock() in the callbacks: they find the array filled. */
	smp_wmb();
	for_each_ksm_file(file) {
		WRITE_ONCE(file->attr->show, ksm_file_show);
		if (file->in_tree.store)
			WRITE_ONCE(file->attr->store, ksm_file_store);
	}
	return 0;
}

/* Give the files back to the in-tree code. */
static void return_files(void)
{
	struct ksm_file *file;

	for_each_ksm_file(file) {
		WRITE_ONCE(file->attr->show, file->in_tree.show);
		if (file->in_tree.store)
			WRITE_ONCE(file->attr->store, file->in_tree.store);
	}
}

/*
 * Wait until nobody is in a store function of the in-tree code. sysfs counts the
 * users of a file, from before it reads the callback until that returns. Once the
 * count has been 0, all later users find our callbacks.
 *
 * Readers are counted as well, and any number of processes may go on reading. So
 * there is a limit: all that a writer needs is ksm_thread_mutex, which is free. One
 * that is even later does no harm, see switch_provider().
 */
#define WRITERS_TIMEOUT	(HZ / 2)

static int wait_for_writers(void)
{
	struct kernfs_node *dir, *node;
	struct ksm_file *file;
	int err = 0;

	dir = kernfs_find_and_get(mm_kobj->sd, ksm_attr_group.name);
	if (!dir)
		return -ENOENT;

	for_each_ksm_file(file) {
		unsigned long waited = 0;

		if (!file->in_tree.store)
			continue;
		node = kernfs_find_and_get(dir, file->in_tree.attr.name);
		if (!node) {
			err = -ENOENT;
			break;
		}
		/* Change the attributes before the count is read. */
		smp_mb();
		while (!err && waited < WRITERS_TIMEOUT &&
		       atomic_read_acquire(&node->active))
			err = take_over_wait(&waited);
		kernfs_put(node);
		if (err)
			break;
	}

	kernfs_put(dir);
	return err;
}

/* Remember the value of a late write to "run". */
static void note_run(void)
{
	unsigned long run = ksm_run & ~KSM_RUN_OFFLINE;

	lockdep_assert_held(&ksm_thread_mutex);
	if (run != KSM_RUN_UNMERGE && run != KSM_RUN_PAUSE)
		WRITE_ONCE(ksm_run_before, run);
}

/* Set ksm_run to @run, and remember the user's value. */
static int stop_ksmd(unsigned long run)
{
	int err = take_over_lock();

	if (err)
		return err;
	if (ksm_run != KSM_RUN_PAUSE)
		WRITE_ONCE(ksm_run_before, ksm_run);
	set_run(run);
	mutex_unlock(&ksm_thread_mutex);
	return 0;
}

/*
 * With ksm_run at KSM_RUN_UNMERGE ksmd sleeps, pages are copied at swap-in, and a
 * child is enrolled behind all others. Writes that are under way are waited for, and
 * their values count.
 */
static int in_tree_stop(void)
{
	unsigned long run;
	int err;

	WRITE_ONCE(ksm_run_before, READ_ONCE(ksm_run) & ~KSM_RUN_OFFLINE);
	err = close_files() ?:
	      stop_ksmd(KSM_RUN_PAUSE) ?:
	      wait_for_writers() ?:
	      stop_ksmd(KSM_RUN_UNMERGE);
	if (!err)
		return 0;

	run = READ_ONCE(ksm_run);
	while (run & KSM_RUN_PAUSE) {
		if (try_cmpxchg(&ksm_run, &run,
				run - KSM_RUN_PAUSE + ksm_run_before)) {
			wake_up_interruptible(&ksm_thread_wait);
			break;
		}
	}
	return_files();
	return err;
}

static void in_tree_resume(void)
{
	mutex_lock(&ksm_thread_mutex);
	note_run();
	set_run(ksm_run_before);
	mutex_unlock(&ksm_thread_mutex);
	wake_up_interruptible(&ksm_thread_wait);
	return_files();
}

/* The longest value is a number of 64 bits. */
#define LONGEST_VALUE	24

/* Read a value in a form that can be written: "none" for "[none] scan-time". */
static int get_value(struct kobj_attribute *attr, char *value)
{
	/* sysfs passes a page to show(). */
	static char text[PAGE_SIZE] __aligned(PAGE_SIZE);
	ssize_t length;
	char *begin;

	length = attr->show(mm_kobj, attr, text);
	if (length < 0)
		return length;
	text[min_t(size_t, length, sizeof(text) - 1)] = '\0';

	begin = strchr(text, '[');
	begin = begin ? begin + 1 : text;
	begin[strcspn(begin, "]\n")] = '\0';
	return strscpy(value, begin, LONGEST_VALUE) < 0 ? -E2BIG : 0;
}

static int set_value(struct kobj_attribute *attr, const char *value)
{
	char old[LONGEST_VALUE];
	ssize_t done;
	int err;

	err = get_value(attr, old);
	if (err || !strcmp(old, value))
		return err;
	done = attr->store(mm_kobj, attr, value, strlen(value));
	return done < 0 ? done : 0;
}

/* Both sides have the knob, and it can be written on both. */
static bool is_carried(const struct ksm_file *file)
{
	return file->in_tree.store && file->theirs && file->theirs->store;
}

static int carry_over(struct ksm_file *file)
{
	char value[LONGEST_VALUE];
	int err = 0;

	if (is_run(file))
		snprintf(value, sizeof(value), "%lu", ksm_run_before);
	else
		err = get_value(&file->in_tree, value);
	err = err ?: set_value(file->theirs, value);
	file->refused = err;
	return err;
}

/* Setting it waits for memory that is going offline, which may take for ever. */
static bool needs_stable_tree(const struct ksm_file *file)
{
	return !strcmp(file->in_tree.attr.name, "max_page_sharing") ||
	       !strcmp(file->in_tree.attr.name, "merge_across_nodes");
}

/* Some take ksm_thread_mutex: ksmd sleeps, and nobody else is in a file. */
static int carry_back(struct ksm_file *file)
{
	char value[LONGEST_VALUE], old[LONGEST_VALUE];
	int err;

	/* In-tree KSM still has it. */
	if (file->refused)
		return 0;

	err = get_value(file->theirs, value);
	if (err)
		return err;
	if (is_run(file))
		return kstrtoul(value, 10, &ksm_run_before);
	if (needs_stable_tree(file) && (READ_ONCE(ksm_run) & KSM_RUN_OFFLINE))
		return get_value(&file->in_tree, old) ?:
		       (strcmp(value, old) ? -EBUSY : 0);
	return set_value(&file->in_tree, value);
}

/*
 * Copy the values of in-tree KSM to the provider, or back. Who refuses a value keeps
 * its own.
 */
static void carry_values(bool back)
{
	struct ksm_file *advisor = find_file("advisor_mode"), *run = find_file("run");
	DECLARE_SEQ_BUF(refused, 256);
	char mode[LONGEST_VALUE];
	struct ksm_file *file;
	int step;

	/* The advisor sets other knobs, and keeps them from being set. */
	if (advisor && is_carried(advisor) && !(back && advisor->refused)) {
		/* In-tree KSM does not have this one: what it has set goes with it. */
		if (back && !get_value(advisor->theirs, mode) &&
		    set_value(&advisor->in_tree, mode))
			set_value(advisor->theirs, "none");
		set_value(back ? &advisor->in_tree : advisor->theirs, "none");
	}

	/* "run" comes last: it starts the scanner. */
	for (step = 0; step < 3; step++) {
		for_each_ksm_file(file) {
			if (step != (file == run) * 2 + (file == advisor) ||
			    !is_carried(file))
				continue;
			if (back ? carry_back(file) : carry_over(file))
				seq_buf_printf(&refused, " %s",
					       file->in_tree.attr.name);
		}
	}

	if (seq_buf_used(&refused))
		pr_warn("ksm: values that were not taken over:%s\n",
			seq_buf_str(&refused));
}

static void give_files(const struct ksm_ops *ops)
{
	struct kobj_attribute **attr;
	struct ksm_file *file;

	for_each_ksm_file(file) {
		file->theirs = NULL;
		file->refused = false;
		for (attr = ops->attrs; *attr; attr++) {
			if (!strcmp((*attr)->attr.name, file->in_tree.attr.name))
				file->theirs = *attr;
		}
	}
	carry_values(false);
	/* Pairs with files_state(). */
	smp_store_release(&ksm_files_state, KSM_FILES_THEIRS);
}

/* Nobody is in the provider's files any more when this returns. */
static void take_files(void)
{
	unsigned long timeout = jiffies + GIVE_UP_AFTER;

	WRITE_ONCE(ksm_files_state, KSM_FILES_LEAVING);
	synchronize_srcu(&ksm_files_srcu);
	while ((READ_ONCE(ksm_run) & KSM_RUN_OFFLINE) && time_before(jiffies, timeout))
		schedule_timeout_uninterruptible(1);
	carry_values(true);
	WRITE_ONCE(ksm_files_state, KSM_FILES_OURS);
	synchronize_srcu(&ksm_files_srcu);
}

/*
 * Both take a reference to each mm, for as many as @mms has room for, and return how
 * many there are.
 */
static size_t grab_enrolled(struct mm_struct **mms, size_t room)
{
	struct list_head *node;
	size_t nr = 0;

	spin_lock(&ksm_mmlist_lock);
	list_for_each(node, &ksm_mm_head.slot.mm_node) {
		struct mm_struct *mm = list_entry(node, struct mm_slot, mm_node)->mm;

		if (nr < room) {
			mmgrab(mm);
			mms[nr] = mm;
		}
		nr++;
	}
	spin_unlock(&ksm_mmlist_lock);

	return nr;
}

static struct mm_struct *mm_of_process(struct task_struct *process)
{
	struct task_struct *thread;

	if (process->flags & PF_KTHREAD)
		return NULL;
	/* The first thread may have exited. */
	for_each_thread(process, thread) {
		struct mm_struct *mm;

		task_lock(thread);
		mm = thread->mm;
		if (mm)
			mmgrab(mm);
		task_unlock(thread);
		if (mm)
			return mm;
	}

	return NULL;
}

static size_t grab_all(struct mm_struct **mms, size_t room)
{
	struct task_struct *process;
	size_t nr = 0;

	rcu_read_lock();
	for_each_process(process) {
		struct mm_struct *mm = mm_of_process(process);

		if (!mm)
			continue;
		if (nr < room)
			mms[nr] = mm;
		else
			mmdrop(mm);
		nr++;
	}
	rcu_read_unlock();

	return nr;
}

typedef size_t (*grab_mms_t)(struct mm_struct **mms, size_t room);

static struct mm_struct **all_mms(grab_mms_t grab, size_t *nr)
{
	size_t room = grab(NULL, 0);

	for (;;) {
		struct mm_struct **mms;

		/* Some may come meanwhile. */
		room += 8;
		mms = kvmalloc_array(room, sizeof(*mms), GFP_KERNEL);
		if (!mms)
			return NULL;

		*nr = grab(mms, room);
		if (*nr <= room)
			return mms;
		while (room)
			mmdrop(mms[--room]);
		kvfree(mms);
		room = *nr;
	}
}

/* How much to unmerge between two checks for a signal */
#define UNMERGE_AT_ONCE	SZ_64M

static int unmerge_vma(struct vm_area_struct *vma)
{
	unsigned long start, end;
	int err;

	for (start = vma->vm_start; start < vma->vm_end; start = end) {
		end = min(vma->vm_end, start + UNMERGE_AT_ONCE);
		err = break_ksm(vma, start, end, false);
		if (err)
			return err;
		if (READ_ONCE(take_over_stopped))
			return -EINTR;
	}

	return 0;
}

/* -EAGAIN: its mmap_lock is taken. */
static int unmerge_mm(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	int err = 0;

	VMA_ITERATOR(vmi, mm, 0);

	/* An exiting process unmaps its pages itself. */
	if (!mmget_not_zero(mm))
		return 0;

	if (mmap_read_trylock(mm)) {
		for_each_vma(vmi, vma) {
			/*
			 * Not only what is mergeable now: a page may have come
			 * back from swap since it was unmerged.
			 */
			if (!vma->anon_vma ||
			    !ksm_compatible(vma->vm_file, vma->flags))
				continue;
			err = unmerge_vma(vma);
			if (err)
				break;
		}
		mmap_read_unlock(mm);
	} else {
		err = -EAGAIN;
	}

	/* This may be the last user: leave the teardown to a worker. */
	mmput_async(mm);
	return err;
}

/*
 * Unmerge what is enrolled, those whose mmap_lock is taken last. The in-tree code
 * would wait for each, however long, and cannot be stopped half way: a pass that
 * it begins anew takes what was left in the unstable tree for its own.
 */
static int unmerge_enrolled(void)
{
	unsigned long waited = 0;
	struct mm_struct **mms;
	size_t nr, i, left;
	int err = 0;

	mms = all_mms(grab_enrolled, &nr);
	if (!mms)
		return -ENOMEM;

	for (left = nr; left && !err; ) {
		size_t now = left;

		for (left = 0, i = 0; i < now; i++) {
			int one = err ? err : unmerge_mm(mms[i]);

			if (one == -EAGAIN) {
				mms[left++] = mms[i];
				continue;
			}
			err = one;
			mmdrop(mms[i]);
			cond_resched();
		}
		if (left < now)
			waited = 0;
		if (left && !err)
			err = take_over_wait(&waited);
	}
	while (left)
		mmdrop(mms[--left]);
	kvfree(mms);

	return err;
}

static int compare_mms(const void *a, const void *b)
{
	return cmp_int(*(struct mm_struct **)a, *(struct mm_struct **)b);
}

/*
 * Unmerge every process, enrolled or not. Most have nothing to unmerge: nobody
 * waits for a mmap_lock that is taken, and at @timeout it ends where it is.
 */
static int unmerge_everyone(unsigned long timeout)
{
	struct mm_struct **mms;
	size_t nr, i;
	int err = 0;

	mms = all_mms(grab_all, &nr);
	if (!mms)
		return -ENOMEM;

	/* Any number of processes may share one. */
	sort(mms, nr, sizeof(*mms), compare_mms, NULL);
	for (i = 0; i < nr && !err && time_before(jiffies, timeout); i++) {
		if (i && mms[i] == mms[i - 1])
			continue;
		err = unmerge_mm(mms[i]);
		if (err == -EAGAIN)
			err = 0;
		if (READ_ONCE(take_over_stopped))
			err = -EINTR;
		cond_resched();
	}
	while (nr)
		mmdrop(mms[--nr]);
	kvfree(mms);

	return err;
}

/*
 * Have the in-tree code forget its records, which takes a pass over the processes
 * in which next to nothing is merged any more. It must not be left half way.
 */
static int forget_records(void)
{
	unsigned long timeout = jiffies + GIVE_UP_AFTER;
	ssize_t done;
	int err;

	/* run_store() does nothing where the value stays the same. */
	mutex_lock(&ksm_thread_mutex);
	note_run();
	set_run(KSM_RUN_STOP);
	mutex_unlock(&ksm_thread_mutex);

	while ((done = run_store(NULL, NULL, "2", 1)) < 0) {
		if (time_after(jiffies, timeout)) {
			pr_warn("ksm: not enough memory to unmerge, \"run\" stays 0\n");
			ksm_run_before = KSM_RUN_STOP;
			break;
		}
		schedule_timeout_uninterruptible(1);
	}

	mutex_lock(&ksm_thread_mutex);
	set_run(KSM_RUN_UNMERGE);
	mutex_unlock(&ksm_thread_mutex);
	if (done < 0)
		return done;

	err = take_over_lock();
	if (err)
		return err;
	err = remove_all_stable_nodes();
	mutex_unlock(&ksm_thread_mutex);
	return err;
}

/*
 * Unmerge until no stable node is left. Once is often not enough: a page may still
 * be mapped by a process between ksm_exit() and exit_mmap(), or have been mapped
 * from swap behind the pass. In the latter case the process need not even be
 * enrolled: ksmd lets go of one that has nothing mergeable, and the in-tree code
 * maps a merged page from the swap cache into any.
 */
static int unmerge_all(void)
{
	unsigned long timeout = 0;
	bool everyone = false;
	int err;

	for (;;) {
		err = everyone ? unmerge_everyone(timeout) : 0;
		/* Last: forget_records() waits for the mmap_lock of each. */
		if (!err)
			err = unmerge_enrolled();
		if (err)
			return err;

		/* What waits for memory to go offline would wait in there. */
		err = take_over_lock();
		if (err)
			return err;
		mutex_unlock(&ksm_thread_mutex);

		err = forget_records();
		if (err != -EBUSY)
			return err;

		/* The first pass may have had much to do: count from its end. */
		if (!timeout) {
			/* What is exiting is gone in a second. */
			timeout = jiffies + HZ;
		} else if (time_after(jiffies, timeout)) {
			if (everyone)
				return -EBUSY;
			everyone = true;
			timeout = jiffies + GIVE_UP_AFTER;
		}

		schedule_timeout_interruptible(msecs_to_jiffies(10));
		if (READ_ONCE(take_over_stopped))
			return -EINTR;
	}
}

struct unmerging {
	struct work_struct work;
	struct completion done;
	int err;
};

static void unmerge_work(struct work_struct *work)
{
	struct unmerging *unmerging = container_of(work, struct unmerging, work);

	unmerging->err = unmerge_all();
	complete(&unmerging->done);
}

/*
 * A worker unmerges. It is a kernel thread, so that nobody is killed for a copy
 * where memory is short; and no signal leaves the in-tree code half way.
 */
static int in_tree_unmerge(void)
{
	struct unmerging unmerging;
	int err;

	WRITE_ONCE(take_over_stopped, false);
	init_completion(&unmerging.done);
	INIT_WORK_ONSTACK(&unmerging.work, unmerge_work);
	queue_work(system_dfl_wq, &unmerging.work);

	err = wait_for_completion_interruptible(&unmerging.done);
	if (err) {
		WRITE_ONCE(take_over_stopped, true);
		wait_for_completion(&unmerging.done);
		WRITE_ONCE(take_over_stopped, false);
	}
	destroy_work_on_stack(&unmerging.work);

	return err ? -EINTR : unmerging.err;
}

static void set_provider(const struct ksm_ops *ops)
{
	rcu_assign_pointer(ksm_provider, ops);
	synchronize_srcu(&ksm_srcu);
}

/* Wait until nobody is in a hook that was called before. */
static int wait_for_hooks(void)
{
	unsigned long cookie = start_poll_synchronize_srcu(&ksm_srcu);
	unsigned long waited = 0;
	int err;

	while (!poll_state_synchronize_srcu(&ksm_srcu, cookie)) {
		err = take_over_wait(&waited);
		if (err)
			return err;
	}

	return 0;
}

/*
 * Enrol with @ops every mm that was enrolled with the in-tree code. The latter is
 * not called any more, and ksmd sleeps, so nobody else changes the list.
 *
 * Who holds mmap_lock may do so for ever. It is not needed: the mm does not exit
 * while its users are referenced, and MMF_VM_MERGEABLE, which all of these have
 * set, keeps everyone else from enrolling it.
 */
static int move_mms(const struct ksm_ops *ops)
{
	while (!list_empty(&ksm_mm_head.slot.mm_node)) {
		struct mm_slot *slot = list_first_entry(&ksm_mm_head.slot.mm_node,
							struct mm_slot, mm_node);
		struct mm_struct *mm = slot->mm;

		/* An mm that is exiting has nothing more to merge. */
		if (mmget_not_zero(mm)) {
			int err = signal_pending(current) ? -EINTR :
							    ops->enter(mm);

			mmput(mm);
			if (err)
				return err;
		}

		spin_lock(&ksm_mmlist_lock);
		hash_del(&slot->hash);
		list_del(&slot->mm_node);
		spin_unlock(&ksm_mmlist_lock);

		/* It is the first member of what was allocated. */
		kfree(slot);
		mmdrop(mm);
		cond_resched();
	}

	return 0;
}

/*
 * With ksm_thread_mutex held, so that no writer to "run" who comes late starts ksmd
 * before its list is empty, after which it finds nothing to do.
 *
 * -EAGAIN: there was one, and in-tree KSM may have merged pages again.
 */
static int switch_provider(const struct ksm_ops *ops)
{
	int err;

	err = take_over_lock();
	if (err)
		return err;

	if (ksm_run != KSM_RUN_UNMERGE) {
		note_run();
		set_run(KSM_RUN_UNMERGE);
		err = -EAGAIN;
		goto unlock;
	}

	set_provider(ops);
	err = move_mms(ops);
	if (err)
		set_provider(NULL);
unlock:
	mutex_unlock(&ksm_thread_mutex);
	return err;
}

/**
 * ksm_register_ops - let a module provide page merging
 * @ops: the hooks of the module
 *
 * Stops ksmd, unmerges all that it has merged, enrols every process that was
 * enrolled with it through @ops->enter, stores what each of its knobs is set to
 * by the one of the same name in @ops->attrs, "run" last, and has the files in
 * "ksm" in sysfs be those.  The provider must not merge anything before this has
 * returned 0.
 *
 * If this fails, everything is as before, except that in-tree KSM has to merge
 * again what was merged.  The hooks may have been called by then: the caller
 * must hand every mm that @ops->enter has accepted to ksm_return_mm().
 *
 * Context: May sleep.  The caller must not hold any lock that is held around a
 * hook or taken in one.
 * Return: 0; -EBUSY if there is another provider, or if for 10 seconds a page
 * could not be unmerged, or a lock could not be had that this needs, as when a
 * process does not give its mmap_lock away; -EINTR if a signal is pending;
 * -ENOMEM if memory is short, or too short for a copy of all that is merged.
 */
int ksm_register_ops(const struct ksm_ops *ops)
{
	int err;

	if (mutex_lock_killable(&ksm_provider_mutex))
		return -EINTR;

	if (rcu_access_pointer(ksm_provider)) {
		err = -EBUSY;
		goto unlock;
	}

	err = seams_close();
	if (err)
		goto unlock;

	/*
	 * Rather refuse than let processes be killed for the copies. The count of
	 * zero pages may be below zero.
	 */
	if ((long)ksm_pages_sharing + max(0L, atomic_long_read(&ksm_zero_pages)) >
	    si_mem_available() + get_nr_swap_pages()) {
		err = -ENOMEM;
		goto open;
	}

	err = in_tree_stop();
	if (err)
		goto open;

	do {
		/* The wait in set_provider() cannot be given up: see that it will end. */
		err = in_tree_unmerge() ?: wait_for_hooks() ?: switch_provider(ops);
	} while (err == -EAGAIN);
	if (err)
		goto resume;

	give_files(ops);
	pr_info("ksm: page merging is provided by %s\n", module_name(ops->owner));
	goto unlock;

resume:
	in_tree_resume();
open:
	seams_open();
unlock:
	mutex_unlock(&ksm_provider_mutex);
	return err;
}
EXPORT_SYMBOL_FOR_MODULES(ksm_register_ops, "rksm");

/**
 * ksm_unregister_ops - give page merging back to the in-tree code
 * @ops: what was given to ksm_register_ops()
 *
 * The caller guarantees that no folio carries one of its stable nodes, and that
 * no new one appears.  When this returns, no hook and no function of @ops->attrs
 * is running or will be called, in-tree KSM is set to what they showed, and the
 * caller must hand each mm that it has to ksm_return_mm().
 *
 * Context: May sleep.  The caller must not hold any lock that is held around a
 * hook or taken in one.
 */
void ksm_unregister_ops(const struct ksm_ops *ops)
{
	mutex_lock(&ksm_provider_mutex);

	if (!WARN_ON_ONCE(rcu_access_pointer(ksm_provider) != ops)) {
		take_files();
		set_provider(NULL);
		in_tree_resume();
		seams_open();
		pr_info("ksm: page merging is provided by the kernel again\n");
	}

	mutex_unlock(&ksm_provider_mutex);
}
EXPORT_SYMBOL_FOR_MODULES(ksm_unregister_ops, "rksm");

/**
 * ksm_return_mm - enrol an mm with in-tree KSM again
 * @mm: an mm which the provider has a reference to (mmgrab())
 *
 * For a provider that has unregistered or has failed to register.  Does nothing
 * if @mm is exiting.  Cannot fail.
 *
 * Context: May sleep.  May be the last user of @mm.
 */
void ksm_return_mm(struct mm_struct *mm)
{
	if (!mmget_not_zero(mm))
		return;

	/*
	 * Who holds mmap_lock may do so for long. It is not needed: as long as the
	 * mm is not in the list, MMF_VM_MERGEABLE, which @ops->enter left it with,
	 * keeps madvise() and prctl() from enrolling it, and ksmd does not come to
	 * it.
	 */
	while (in_tree___ksm_enter(mm))
		schedule_timeout_uninterruptible(1);

	mmput(mm);
}
EXPORT_SYMBOL_FOR_MODULES(ksm_return_mm, "rksm");
