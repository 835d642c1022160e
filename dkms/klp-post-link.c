// SPDX-License-Identifier: GPL-2.0
/*
 * klp-post-link MODULE.ko LIST [SYMBOLS]
 *
 * Has the livepatch core resolve what a finished module takes from the kernel
 * without its being exported: see Documentation/livepatch/module-elf-format.rst
 * in the kernel's source.  LIST has a symbol a line, as NAME or, where the
 * kernel has several of that name, NAME,POSITION: the first is 1, by address.
 * A ? before it says that not every configuration has the module use it.
 * SYMBOLS is the kernel's own list, as in System.map or /proc/kallsyms, that
 * all of them are looked up in.
 *
 * The module is replaced when everything is in order, and else left alone.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHF_RELA_LIVEPATCH	0x00100000
#define SHN_LIVEPATCH		0xff20

/* Of any machine: what the module loader has nothing to do for. */
#define R_NONE			0

#define MODINFO			"livepatch=Y"

/* What the list names. */
struct entry {
	char *name;
	unsigned long pos;
	bool optional;
	/* How often the kernel has it, and where in the module it is. */
	unsigned long in_kernel;
	size_t symbol;
	size_t relocations;
};

static struct entry *entries;
static size_t entry_count;

static const char *module_path, *list_path, *symbols_path;
static char *new_path;

static _Noreturn void leave(void)
{
	if (new_path)
		unlink(new_path);
	exit(1);
}

/* Says why in one sentence and leaves everything as it was. */
#define die(format, ...) do {							\
	fprintf(stderr, "klp-post-link: " format "\n", ##__VA_ARGS__);		\
	leave();								\
} while (0)

static _Noreturn void die_elf(void)
{
	die("%s: %s", module_path, elf_errmsg(-1));
}

static void *grow(void *old, size_t size)
{
	void *new = realloc(old, size);

	if (!new)
		die("out of memory");
	return new;
}

static FILE *open_text(const char *path)
{
	FILE *file = fopen(path, "r");

	if (!file)
		die("cannot read %s: %s", path, strerror(errno));
	return file;
}

static struct entry *find_entry(const char *name)
{
	for (size_t i = 0; i < entry_count; i++)
		if (!strcmp(entries[i].name, name))
			return &entries[i];
	return NULL;
}

/* The list: a symbol a line; what follows a # is a comment. */
static void read_list(void)
{
	FILE *file = open_text(list_path);
	unsigned int number = 0;
	char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, file) >= 0) {
		char *name, *rest, *pos;
		struct entry *entry;
		bool optional;

		number++;
		line[strcspn(line, "#\n")] = '\0';
		name = strtok_r(line, " \t", &rest);
		if (!name)
			continue;
		if (strtok_r(NULL, " \t", &rest))
			die("%s:%u: more than one symbol in a line", list_path, number);
		optional = *name == '?';
		name += optional;
		pos = strchr(name, ',');
		if (pos)
			*pos++ = '\0';
		if (!*name)
			die("%s:%u: a position without a name", list_path, number);
		if (find_entry(name))
			die("%s:%u: %s is there twice", list_path, number, name);

		entries = grow(entries, (entry_count + 1) * sizeof(*entries));
		entry = &entries[entry_count++];
		memset(entry, 0, sizeof(*entry));
		entry->optional = optional;
		entry->name = strdup(name);
		if (!entry->name)
			die("out of memory");
		if (pos) {
			char *end;

			entry->pos = strtoul(pos, &end, 10);
			if (!strspn(pos, "123456789") || *end)
				die("%s:%u: the position of %s is no number from 1 on: %s",
				    list_path, number, name, pos);
		}
	}
	if (ferror(file))
		die("cannot read %s: %s", list_path, strerror(errno));
	free(line);
	fclose(file);
	if (!entry_count)
		die("%s names no symbol", list_path);
}

/* How often the kernel has each: lines of address, type, name, [module]. */
static void count_in_kernel(void)
{
	FILE *file = open_text(symbols_path);
	unsigned long symbols = 0;
	char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, file) >= 0) {
		struct entry *entry;
		char *rest, *name;

		strtok_r(line, " \t\n", &rest);
		strtok_r(NULL, " \t\n", &rest);
		name = strtok_r(NULL, " \t\n", &rest);
		if (!name || strtok_r(NULL, " \t\n", &rest))
			continue;
		symbols++;
		entry = find_entry(name);
		if (entry)
			entry->in_kernel++;
	}
	if (ferror(file))
		die("cannot read %s: %s", symbols_path, strerror(errno));
	free(line);
	fclose(file);
	if (!symbols)
		die("%s has no symbols", symbols_path);
}

static void check_against_kernel(void)
{
	for (size_t i = 0; i < entry_count; i++) {
		const struct entry *entry = &entries[i];

		if (entry->optional && !entry->symbol)
			continue;
		if (!entry->in_kernel)
			die("the kernel has no symbol %s (%s)", entry->name, symbols_path);
		if (!entry->pos && entry->in_kernel > 1)
			die("the kernel has %lu symbols called %s, and %s does not say which (%s)",
			    entry->in_kernel, entry->name, list_path, symbols_path);
		if (entry->pos > entry->in_kernel)
			die("the kernel has %lu symbols called %s, and %s names number %lu (%s)",
			    entry->in_kernel, entry->name, list_path, entry->pos,
			    symbols_path);
	}
}

/* A section and its header. */
struct section {
	Elf_Scn *scn;
	GElf_Shdr header;
	Elf_Data *data;
};

static struct section get_section(Elf_Scn *scn)
{
	struct section section = { .scn = scn };

	if (!scn || !gelf_getshdr(scn, &section.header))
		die_elf();
	section.data = elf_getdata(scn, NULL);
	if (!section.data)
		die_elf();
	return section;
}

/* Adds a string at the end of a section of strings, and tells where. */
static size_t append_string(Elf_Scn *scn, const char *string)
{
	struct section section = get_section(scn);
	size_t at = section.data->d_size, size = strlen(string) + 1;
	char *buf = grow(NULL, at + size);

	memcpy(buf, section.data->d_buf, at);
	memcpy(buf + at, string, size);
	section.data->d_buf = buf;
	section.data->d_size = at + size;
	elf_flagdata(section.data, ELF_C_SET, ELF_F_DIRTY);
	return at;
}

static void check_module(Elf *elf)
{
	GElf_Ehdr header;

	if (elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &header))
		die("%s is no module", module_path);
	if (header.e_type != ET_REL || header.e_ident[EI_CLASS] != ELFCLASS64)
		die("%s is no module of a 64-bit kernel", module_path);
	if (header.e_machine != EM_X86_64 && header.e_machine != EM_AARCH64)
		die("%s is for neither x86-64 nor arm64", module_path);
}

/* Finds the module's symbols of the list. */
static void find_symbols(Elf *elf, const struct section *symtab)
{
	size_t count = symtab->header.sh_size / symtab->header.sh_entsize;

	for (size_t i = 1; i < count; i++) {
		struct entry *entry;
		const char *name;
		GElf_Sym symbol;

		if (!gelf_getsym(symtab->data, i, &symbol))
			die_elf();
		if (symbol.st_shndx == SHN_LIVEPATCH)
			die("%s has livepatch symbols already", module_path);
		name = elf_strptr(elf, symtab->header.sh_link, symbol.st_name);
		if (!name)
			die_elf();
		entry = find_entry(name);
		if (!entry)
			continue;
		if (symbol.st_shndx != SHN_UNDEF)
			die("%s has a symbol %s of its own", module_path, name);
		entry->symbol = i;
	}
}

static struct entry *entry_of(size_t symbol)
{
	for (size_t i = 0; i < entry_count; i++)
		if (symbol && entries[i].symbol == symbol)
			return &entries[i];
	return NULL;
}

/* Moves what a section has of relocations to the listed symbols to a new one. */
static void move_relocations(Elf *elf, Elf_Scn *scn, size_t symtab)
{
	struct section from = get_section(scn), target;
	size_t count, moved = 0;
	size_t names;
	GElf_Shdr header;
	Elf64_Rela *relas;
	Elf_Scn *new_scn;
	Elf_Data *data;
	char *name;

	if (!from.header.sh_entsize)
		die("%s is damaged", module_path);
	count = from.header.sh_size / from.header.sh_entsize;
	target = get_section(elf_getscn(elf, from.header.sh_info));
	relas = grow(NULL, (count + 1) * sizeof(*relas));
	for (size_t i = 0; i < count; i++) {
		struct entry *entry;
		GElf_Rela rela;

		if (!gelf_getrela(from.data, i, &rela))
			die_elf();
		entry = entry_of(GELF_R_SYM(rela.r_info));
		/* The loader leaves the others alone, debug information say. */
		if (!entry || !(target.header.sh_flags & SHF_ALLOC))
			continue;
		relas[moved++] = rela;
		entry->relocations++;
		rela.r_info = GELF_R_INFO(0, R_NONE);
		rela.r_addend = 0;
		if (!gelf_update_rela(from.data, i, &rela))
			die_elf();
	}
	if (!moved) {
		free(relas);
		return;
	}
	elf_flagdata(from.data, ELF_C_SET, ELF_F_DIRTY);

	if (elf_getshdrstrndx(elf, &names))
		die_elf();
	if (asprintf(&name, ".klp.rela.vmlinux.%s",
		     elf_strptr(elf, names, target.header.sh_name)) < 0)
		die("out of memory");
	new_scn = elf_newscn(elf);
	if (!new_scn || !gelf_getshdr(new_scn, &header))
		die_elf();
	data = elf_newdata(new_scn);
	if (!data)
		die_elf();
	data->d_buf = relas;
	data->d_size = moved * sizeof(*relas);
	data->d_type = ELF_T_RELA;
	data->d_align = 8;
	header.sh_name = append_string(elf_getscn(elf, names), name);
	header.sh_type = SHT_RELA;
	header.sh_flags = SHF_ALLOC | SHF_INFO_LINK | SHF_RELA_LIVEPATCH;
	header.sh_link = symtab;
	header.sh_info = from.header.sh_info;
	header.sh_entsize = sizeof(*relas);
	header.sh_addralign = 8;
	if (!gelf_update_shdr(new_scn, &header))
		die_elf();
	printf("%s: %zu relocations\n", name, moved);
	free(name);
}

static void rename_symbols(Elf *elf, struct section *symtab)
{
	for (size_t i = 0; i < entry_count; i++) {
		const struct entry *entry = &entries[i];
		GElf_Sym symbol;
		char *name;

		if (!entry->symbol)
			continue;
		if (!gelf_getsym(symtab->data, entry->symbol, &symbol))
			die_elf();
		if (asprintf(&name, ".klp.sym.vmlinux.%s,%lu", entry->name, entry->pos) < 0)
			die("out of memory");
		symbol.st_name = append_string(elf_getscn(elf, symtab->header.sh_link), name);
		symbol.st_shndx = SHN_LIVEPATCH;
		if (!gelf_update_sym(symtab->data, entry->symbol, &symbol))
			die_elf();
		free(name);
	}
	elf_flagdata(symtab->data, ELF_C_SET, ELF_F_DIRTY);
}

/* Without this the module loader takes it for an ordinary module. */
static void mark_as_livepatch(Elf_Scn *modinfo)
{
	struct section section = get_section(modinfo);
	const char *text = section.data->d_buf, *end = text + section.data->d_size;

	while (text < end) {
		size_t length = strnlen(text, end - text);

		if (length == strlen(MODINFO) && !memcmp(text, MODINFO, length))
			return;
		text += length + 1;
	}
	append_string(modinfo, MODINFO);
}

static void convert(Elf *elf)
{
	struct section symtab = { .scn = NULL };
	Elf_Scn *scn = NULL, *modinfo = NULL;
	size_t names, sections;

	check_module(elf);
	if (elf_getshdrstrndx(elf, &names) || elf_getshdrnum(elf, &sections))
		die_elf();
	while ((scn = elf_nextscn(elf, scn))) {
		struct section section = get_section(scn);
		const char *name = elf_strptr(elf, names, section.header.sh_name);

		if (section.header.sh_type == SHT_SYMTAB)
			symtab = section;
		else if (name && !strcmp(name, ".modinfo"))
			modinfo = scn;
	}
	if (!symtab.scn || !symtab.header.sh_entsize || !modinfo)
		die("%s is no module: it has no .symtab or no .modinfo", module_path);

	find_symbols(elf, &symtab);
	if (symbols_path)
		check_against_kernel();
	/* Those that are added meanwhile are not looked at. */
	for (size_t i = 1; i < sections; i++) {
		GElf_Shdr header;

		scn = elf_getscn(elf, i);
		if (!gelf_getshdr(scn, &header))
			die_elf();
		if (header.sh_type == SHT_RELA && header.sh_link == elf_ndxscn(symtab.scn))
			move_relocations(elf, scn, header.sh_link);
	}
	for (size_t i = 0; i < entry_count; i++)
		if (!entries[i].relocations && !entries[i].optional)
			die("%s names %s, which %s does not use", list_path,
			    entries[i].name, module_path);
	rename_symbols(elf, &symtab);
	mark_as_livepatch(modinfo);
}

/* A copy beside the module, which is to take its place. */
static int make_copy(void)
{
	int from = open(module_path, O_RDONLY | O_CLOEXEC), to;
	char buffer[65536];
	struct stat stat;
	ssize_t size;
	char *path;

	if (from < 0 || fstat(from, &stat))
		die("cannot read %s: %s", module_path, strerror(errno));
	if (asprintf(&path, "%s.klp-new", module_path) < 0)
		die("out of memory");
	to = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, stat.st_mode & 0777);
	if (to < 0)
		die("cannot write %s: %s", path, strerror(errno));
	new_path = path;
	while ((size = read(from, buffer, sizeof(buffer))) > 0)
		if (write(to, buffer, size) != size)
			die("cannot write %s: %s", path, strerror(errno));
	if (size < 0)
		die("cannot read %s: %s", module_path, strerror(errno));
	close(from);
	return to;
}

int main(int argc, char **argv)
{
	Elf *elf;
	int fd;

	if (argc != 3 && argc != 4) {
		fputs("usage: klp-post-link MODULE.ko LIST [SYMBOLS]\n", stderr);
		return 2;
	}
	module_path = argv[1];
	list_path = argv[2];
	symbols_path = argv[3];

	read_list();
	if (symbols_path)
		count_in_kernel();
	fd = make_copy();
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_RDWR, NULL);
	if (!elf)
		die_elf();
	convert(elf);
	if (elf_update(elf, ELF_C_WRITE) < 0)
		die_elf();
	elf_end(elf);
	if (close(fd) || rename(new_path, module_path))
		die("cannot write %s: %s", module_path, strerror(errno));
	return 0;
}
