/* Preloaded into the servers for two things that they have no options for:
   - listen on 127.0.0.1 only, instead of on all addresses;
   - trust the authority in $AF_KIT_CA when the library that checks tokens fetches an issuer's keys. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/socket.h>

#define CURLOPT_CAINFO 10065 /* curl/curl.h: never renumbered */

int bind(int fd, const struct sockaddr *address, socklen_t length) {
    static int (*next)(int, const struct sockaddr *, socklen_t);
    struct sockaddr_in only;
    if (!next) next = dlsym(RTLD_NEXT, "bind");
    if (address->sa_family != AF_INET) return next(fd, address, length);
    only = *(const struct sockaddr_in *)address;
    only.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return next(fd, (struct sockaddr *)&only, sizeof only);
}

void *curl_easy_init(void) {
    void *curl = dlopen("libcurl.so.4", RTLD_LAZY | RTLD_NOLOAD);
    void *(*next)(void) = curl ? dlsym(curl, "curl_easy_init") : NULL;
    int (*set)(void *, int, ...) = curl ? dlsym(curl, "curl_easy_setopt") : NULL;
    const char *authority = getenv("AF_KIT_CA");
    void *handle = next ? next() : NULL;
    if (handle && set && authority) set(handle, CURLOPT_CAINFO, authority);
    return handle;
}
