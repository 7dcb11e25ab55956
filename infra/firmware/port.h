/* What the firmware needs of the world around it: files of the emulator's host, and an end. */
#ifndef TINYMLOPS_PORT_H
#define TINYMLOPS_PORT_H

#include <stddef.h>
#include <stdint.h>

typedef enum { PORT_READ, PORT_WRITE } port_mode;

/* A handle, or a negative number. */
intptr_t port_open(const char *path, port_mode mode);

/* Bytes read; fewer than `size` at the end of the file. */
size_t port_read(intptr_t file, void *buffer, size_t size);

/* Bytes written. */
size_t port_write(intptr_t file, const void *buffer, size_t size);

/* Never returns; `code` becomes the emulator's exit code. */
void port_exit(int code) __attribute__((noreturn));

#endif
